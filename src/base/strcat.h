// StrCat: one string from pieces of text and numbers, without streams or format strings.
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

namespace quire {

namespace strcat_internal {

inline void Append(std::string& out, std::string_view piece) {
  out.append(piece);
}
void Append(std::string& out, std::same_as<bool> auto value) {
  out.append(value ? "true" : "false");
}
inline void Append(std::string& out, char value) {
  out.push_back(value);
}

template <typename T>
  requires((std::integral<T> && !std::same_as<T, bool>) || std::floating_point<T>)
void Append(std::string& out, T value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  out.append(buffer, end);
}

}  // namespace strcat_internal

// Joins the pieces: anything that converts to std::string_view, char, bool, integers and
// floating-point numbers (shortest form that reads back to the same value).
template <typename... Pieces>
std::string StrCat(const Pieces&... pieces) {
  std::string out;
  (strcat_internal::Append(out, pieces), ...);
  return out;
}

}  // namespace quire
