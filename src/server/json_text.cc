#include "server/json_text.h"

#include <nlohmann/json.hpp>
#include <vector>

namespace quire {

namespace {

// Line and column, from 1, of `offset` in `text`.
std::string PlaceOf(std::string_view text, size_t offset) {
  int64_t line = 1;
  int64_t column = 1;
  for (size_t i = 0; i < offset && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return StrCat("line ", line, ", column ", column);
}

// Looks at brackets outside of strings only; what else is wrong with the text is the parser's to
// say.
class ShapeScanner {
 public:
  explicit ShapeScanner(std::string_view text) : text_(text) {}

  Status Scan() {
    for (size_t i = 0; i < text_.size(); ++i) {
      switch (text_[i]) {
        case '"': i = EndOfString(i); break;
        case '{':
        case '[':
          if (members_.size() >= kMaxJsonDepth) {
            return InvalidArgument("the JSON is nested deeper than ", kMaxJsonDepth, " levels at ",
                                   PlaceOf(text_, i));
          }
          members_.push_back(0);
          break;
        case '}':
        case ']':
          if (!members_.empty()) members_.pop_back();
          break;
        case ':':
          if (!members_.empty() && ++members_.back() > kMaxJsonMembers) {
            return InvalidArgument("a JSON object has more than ", kMaxJsonMembers, " members at ",
                                   PlaceOf(text_, i));
          }
          break;
        default: break;
      }
    }
    return OkStatus();
  }

 private:
  // The offset of the quote that closes the string opened at `i`, or the end.
  size_t EndOfString(size_t i) const {
    for (++i; i < text_.size() && text_[i] != '"'; ++i) {
      if (text_[i] == '\\') ++i;
    }
    return i;
  }

  std::string_view text_;
  std::vector<int> members_;  // of each open bracket
};

// The library's message without its own prefix: "[json.exception.x] parse error at line 1, column
// 2: why".
std::string ReasonOf(std::string_view what) {
  if (const size_t end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
  if (what.starts_with("parse error at line ")) {
    if (const size_t colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
  }
  return std::string(what);
}

}  // namespace

Result<Json> ParseJsonText(std::string_view text) {
  QUIRE_RETURN_IF_ERROR(ShapeScanner(text).Scan());
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& error) {
    const size_t offset = error.byte > 0 ? error.byte - 1 : 0;
    return InvalidArgument("malformed JSON at ", PlaceOf(text, offset), ": ",
                           ReasonOf(error.what()));
  } catch (const Json::exception& error) {
    return InvalidArgument("malformed JSON: ", ReasonOf(error.what()));
  }
}

std::string JsonText(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string_view JsonTypeName(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "an array";
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return "an integer";
    case Json::value_t::number_float: return "a number";
    default: return "a value";
  }
}

}  // namespace quire
