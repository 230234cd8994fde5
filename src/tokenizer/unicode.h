// Code points: reading them from UTF-8 that may be broken, and the classes that pre-tokenizers ask
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

// Bits of a code point's class, from its Unicode 16.0 general category. The number is the first
// letter of the category in regular expressions: \p{L}, \p{N}, \p{M}, \p{P}, \p{S}; kSpace is \s
// (White_Space). A code point has at most one bit.
enum CharClass : uint8_t {
  kLetter = 1,
  kNumber = 2,
  kMark = 4,
  kPunctuation = 8,
  kSymbol = 16,
  kSpace = 32,
};

// The class of `code_point`; 0 for controls, unassigned ones and values past U+10FFFF.
uint8_t ClassOf(uint32_t code_point);

enum class Utf8Kind : uint8_t {
  kValid,
  kInvalid,    // these bytes can never be part of a code point
  kTruncated,  // the text ends where a code point could still be completed
};

struct Utf8Char {
  Utf8Kind kind;
  uint8_t length;       // bytes, >= 1
  uint32_t code_point;  // U+FFFD unless kValid
};

// The character of `text` at byte `offset`. Broken bytes come in maximal subparts (Unicode 16.0,
// section 3.9, "U+FFFD Substitution of Maximal Subparts"), so that one U+FFFD per returned piece is
// what Python, Rust and browsers print. Surrogates and overlong forms are invalid. REQUIRES: offset
// < text.size().
Utf8Char DecodeUtf8(std::string_view text, size_t offset);

// Appends `code_point` to `out`. REQUIRES: code_point <= 0x10FFFF.
void AppendUtf8(uint32_t code_point, std::string* out);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// `bytes` with each maximal broken part as one U+FFFD. If `rest` is given, an unfinished character
// at the end goes there instead.
std::string RepairUtf8(std::string_view bytes, std::string* rest = nullptr);

}  // namespace quire
