// Reads the fields of a request object, checking type and range; the first error wins and stops
// further reads.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/json_text.h"

namespace quire {

// Every reader leaves `out` alone where the field is absent or null, as OpenAI's API does.
class FieldReader {
 public:
  // `prefix` goes before field names in messages, e.g. "stream_options.". REQUIRES: `object` is a
  // JSON object and outlives this.
  explicit FieldReader(const Json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  bool ok() const { return ok_; }
  const ApiError& error() const { return error_; }

  // The field, or nullptr if absent, null, or an error was met before.
  const Json* Find(std::string_view name) const;

  void Boolean(std::string_view name, bool* out);
  void Text(std::string_view name, std::string* out);
  void Integer(std::string_view name, int64_t low, int64_t high, int64_t* out);
  // low <= value <= high, or low < value if `open_low`.
  void Number(std::string_view name, double low, double high, bool open_low, float* out);
  // A string or an array of up to `max_count` strings, none empty.
  void TextList(std::string_view name, size_t max_count, std::vector<std::string>* out);
  void IntegerList(std::string_view name, int64_t low, int64_t high, size_t max_count,
                   std::vector<int32_t>* out);

  // Error unless the field is absent, null, or equal to one of `harmless` ("{}" and "[]" are values
  // too).
  void Refuse(std::string_view name, const std::vector<Json>& harmless);

  void Fail(std::string_view name, std::string message, std::string_view code = "");
  void FailType(std::string_view name, const Json& value, std::string_view wanted);

 private:
  const Json& object_;
  std::string prefix_;
  bool ok_ = true;
  ApiError error_;
};

}  // namespace quire
