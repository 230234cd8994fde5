#include "server/field_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace quire {

namespace {

// The integer in `value`; false if it is none or does not fit. 3.0 is taken: some clients send it.
bool ToInteger(const Json& value, int64_t* out) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > INT64_MAX) return false;
    *out = static_cast<int64_t>(number);
    return true;
  }
  if (value.is_number_integer()) {
    *out = value.get<int64_t>();
    return true;
  }
  if (!value.is_number_float()) return false;
  const auto number = value.get<double>();
  if (std::floor(number) != number || std::abs(number) > 1e15) return false;
  *out = static_cast<int64_t>(number);
  return true;
}

}  // namespace

const Json* FieldReader::Find(std::string_view name) const {
  if (!ok_) return nullptr;
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void FieldReader::Fail(std::string_view name, std::string message, std::string_view code) {
  if (!ok_) return;
  ok_ = false;
  error_.status = 400;
  error_.message = std::move(message);
  error_.param = StrCat(prefix_, name);
  error_.code = code;
}

void FieldReader::FailType(std::string_view name, const Json& value, std::string_view wanted) {
  Fail(name,
       StrCat("field \"", prefix_, name, "\" is ", JsonTypeName(value), "; it must be ", wanted),
       "invalid_type");
}

void FieldReader::Boolean(std::string_view name, bool* out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_boolean()) return FailType(name, *value, "a boolean");
  *out = value->get<bool>();
}

void FieldReader::Text(std::string_view name, std::string* out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return FailType(name, *value, "a string");
  *out = value->get<std::string>();
}

void FieldReader::Integer(std::string_view name, int64_t low, int64_t high, int64_t* out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return FailType(name, *value, "an integer");
  int64_t number = 0;
  if (!ToInteger(*value, &number) || number < low || number > high) {
    return Fail(name,
                StrCat("field \"", prefix_, name, "\" is ", value->dump(),
                       "; it must be an integer from ", low, " to ", high),
                "invalid_value");
  }
  *out = number;
}

void FieldReader::Number(std::string_view name, double low, double high, bool open_low,
                         float* out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return FailType(name, *value, "a number");
  const auto number = value->get<double>();
  // Not "number < low || ...": a NaN must fail too. The float must keep the promise as well as the
  // double.
  const auto narrow = static_cast<float>(number);
  const bool above = open_low ? narrow > static_cast<float>(low) : number >= low;
  if (!above || !(number <= high)) {
    return Fail(name,
                StrCat("field \"", prefix_, name, "\" is ", value->dump(), "; it must be ",
                       open_low ? "greater than " : "at least ", low, " and at most ", high),
                "invalid_value");
  }
  *out = narrow;
}

void FieldReader::TextList(std::string_view name, size_t max_count, std::vector<std::string>* out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  std::vector<std::string> texts;
  if (value->is_string()) {
    texts.push_back(value->get<std::string>());
  } else if (value->is_array()) {
    for (const Json& item : *value) {
      if (!item.is_string()) return FailType(name, item, "a string or an array of strings");
      texts.push_back(item.get<std::string>());
    }
  } else {
    return FailType(name, *value, "a string or an array of strings");
  }
  if (texts.size() > max_count) {
    return Fail(name,
                StrCat("field \"", prefix_, name, "\" has ", texts.size(),
                       " entries; it may have at most ", max_count),
                "invalid_value");
  }
  for (const std::string& text : texts) {
    if (text.empty()) {
      return Fail(name, StrCat("field \"", prefix_, name, "\" has an empty string; remove it"),
                  "invalid_value");
    }
  }
  *out = std::move(texts);
}

void FieldReader::IntegerList(std::string_view name, int64_t low, int64_t high, size_t max_count,
                              std::vector<int32_t>* out) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return FailType(name, *value, "an array of integers");
  if (value->size() > max_count) {
    return Fail(name,
                StrCat("field \"", prefix_, name, "\" has ", value->size(),
                       " entries; it may have at most ", max_count),
                "invalid_value");
  }
  std::vector<int32_t> numbers;
  for (const Json& item : *value) {
    int64_t number = 0;
    if (!item.is_number()) return FailType(name, item, "an array of integers");
    if (!ToInteger(item, &number) || number < low || number > high) {
      return Fail(name,
                  StrCat("field \"", prefix_, name, "\" has the entry ", item.dump(),
                         "; entries must be integers from ", low, " to ", high),
                  "invalid_value");
    }
    numbers.push_back(static_cast<int32_t>(number));
  }
  *out = std::move(numbers);
}

void FieldReader::Refuse(std::string_view name, const std::vector<Json>& harmless) {
  const Json* value = Find(name);
  if (value == nullptr) return;
  for (const Json& allowed : harmless) {
    if (*value == allowed) return;
  }
  Fail(name, StrCat("field \"", prefix_, name, "\" is not supported by this server; remove it"),
       "unsupported_parameter");
}

}  // namespace quire
