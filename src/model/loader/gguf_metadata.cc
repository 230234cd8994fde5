// The typed reads of GgufFile: metadata values converted to what the caller needs.
#include <concepts>
#include <cstring>
#include <iterator>
#include <utility>

#include "model/loader/gguf.h"
#include "model/loader/gguf_types.h"

namespace quire {

namespace {

std::string_view KindName(const GgufValue& value) {
  constexpr std::string_view kNames[] = {
      "an unsigned integer", "an integer", "a float", "a bool", "a string", "an array"};
  static_assert(std::size(kNames) == std::variant_size_v<GgufValue>);
  return kNames[value.index()];
}

Status WrongKind(std::string_view key, std::string_view found, std::string_view wanted) {
  return InvalidArgument("metadata key '", key, "' is ", found, ", not ", wanted);
}

template <typename T>
T Load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

template <typename To, typename From>
bool Fits(From value) {
  if constexpr (std::integral<To> && std::integral<From>) {
    return std::in_range<To>(value);
  }
  return true;
}

template <typename From, typename To>
Status AppendAll(std::string_view key, const GgufArray& array, std::vector<To>& out) {
  out.reserve(array.count);
  for (uint64_t i = 0; i < array.count; ++i) {
    const From value = Load<From>(array.bytes.data() + i * sizeof(From));
    if (!Fits<To>(value)) {
      return InvalidArgument("metadata key '", key, "': element ", i, " is ", value,
                             ", which does not fit 64 bits with sign");
    }
    out.push_back(static_cast<To>(value));
  }
  return OkStatus();
}

// Integer elements of any width, and bools as 0 and 1.
template <typename To>
Status AppendIntegers(std::string_view key, const GgufArray& array, std::vector<To>& out) {
  switch (static_cast<GgufValueType>(array.element_type)) {
    case GgufValueType::kUint8:
    case GgufValueType::kBool: return AppendAll<uint8_t>(key, array, out);
    case GgufValueType::kInt8: return AppendAll<int8_t>(key, array, out);
    case GgufValueType::kUint16: return AppendAll<uint16_t>(key, array, out);
    case GgufValueType::kInt16: return AppendAll<int16_t>(key, array, out);
    case GgufValueType::kUint32: return AppendAll<uint32_t>(key, array, out);
    case GgufValueType::kInt32: return AppendAll<int32_t>(key, array, out);
    case GgufValueType::kUint64: return AppendAll<uint64_t>(key, array, out);
    case GgufValueType::kInt64: return AppendAll<int64_t>(key, array, out);
    default: break;
  }
  return WrongKind(key, StrCat("an array of ", GgufValueTypeName(array.element_type)),
                   std::floating_point<To> ? "an array of numbers" : "an array of integers");
}

Result<const GgufValue*> Require(const GgufFile& file, std::string_view key) {
  const GgufValue* value = file.Find(key);
  if (value == nullptr) {
    return NotFound("file '", file.path(), "' lacks the metadata key '", key, "'");
  }
  return value;
}

Result<const GgufArray*> RequireArray(const GgufFile& file, std::string_view key) {
  QUIRE_ASSIGN_OR_RETURN(const GgufValue* value, Require(file, key));
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr) {
    return WrongKind(key, KindName(*value), "an array");
  }
  return array;
}

}  // namespace

Result<int64_t> GgufFile::GetInt(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufValue* value, Require(*this, key));
  if (const auto* signed_value = std::get_if<int64_t>(value)) {
    return *signed_value;
  }
  const auto* unsigned_value = std::get_if<uint64_t>(value);
  if (unsigned_value == nullptr) {
    return WrongKind(key, KindName(*value), "an integer");
  }
  if (!Fits<int64_t>(*unsigned_value)) {
    return InvalidArgument("metadata key '", key, "' is ", *unsigned_value,
                           ", which does not fit 64 bits with sign");
  }
  return static_cast<int64_t>(*unsigned_value);
}

Result<double> GgufFile::GetFloat(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufValue* value, Require(*this, key));
  if (const auto* number = std::get_if<double>(value)) {
    return *number;
  }
  if (const auto* integer = std::get_if<int64_t>(value)) {
    return static_cast<double>(*integer);
  }
  if (const auto* integer = std::get_if<uint64_t>(value)) {
    return static_cast<double>(*integer);
  }
  return WrongKind(key, KindName(*value), "a number");
}

Result<bool> GgufFile::GetBool(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufValue* value, Require(*this, key));
  if (const auto* flag = std::get_if<bool>(value)) {
    return *flag;
  }
  return WrongKind(key, KindName(*value), "a bool");
}

Result<std::string_view> GgufFile::GetString(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufValue* value, Require(*this, key));
  if (const auto* text = std::get_if<std::string_view>(value)) {
    return *text;
  }
  return WrongKind(key, KindName(*value), "a string");
}

Result<std::vector<std::string_view>> GgufFile::GetStrings(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufArray* array, RequireArray(*this, key));
  if (array->element_type != static_cast<uint32_t>(GgufValueType::kString)) {
    return WrongKind(key, StrCat("an array of ", GgufValueTypeName(array->element_type)),
                     "an array of strings");
  }
  std::vector<std::string_view> strings;
  strings.reserve(array->count);
  const std::byte* next = array->bytes.data();
  for (uint64_t i = 0; i < array->count;
       ++i) {  // every length was checked when the file was opened
    const auto length = Load<uint64_t>(next);
    strings.emplace_back(reinterpret_cast<const char*>(next + sizeof(length)), length);
    next += sizeof(length) + length;
  }
  return strings;
}

Result<std::vector<int64_t>> GgufFile::GetInts(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufArray* array, RequireArray(*this, key));
  std::vector<int64_t> values;
  QUIRE_RETURN_IF_ERROR(AppendIntegers(key, *array, values));
  return values;
}

Result<std::vector<float>> GgufFile::GetFloats(std::string_view key) const {
  QUIRE_ASSIGN_OR_RETURN(const GgufArray* array, RequireArray(*this, key));
  std::vector<float> values;
  switch (static_cast<GgufValueType>(array->element_type)) {
    case GgufValueType::kFloat32:
      QUIRE_RETURN_IF_ERROR(AppendAll<float>(key, *array, values));
      break;
    case GgufValueType::kFloat64:
      QUIRE_RETURN_IF_ERROR(AppendAll<double>(key, *array, values));
      break;
    default: QUIRE_RETURN_IF_ERROR(AppendIntegers(key, *array, values)); break;
  }
  return values;
}

Result<int64_t> GgufFile::GetIntOr(std::string_view key, int64_t fallback) const {
  return Find(key) == nullptr ? Result<int64_t>(fallback) : GetInt(key);
}

Result<double> GgufFile::GetFloatOr(std::string_view key, double fallback) const {
  return Find(key) == nullptr ? Result<double>(fallback) : GetFloat(key);
}

Result<bool> GgufFile::GetBoolOr(std::string_view key, bool fallback) const {
  return Find(key) == nullptr ? Result<bool>(fallback) : GetBool(key);
}

}  // namespace quire
