#include "tokenizer/byte_level.h"

#include <array>

#include "tokenizer/unicode.h"

namespace quire {

namespace {

constexpr int kAlphabetEnd = 0x144;  // one past the largest character

constexpr bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// Of each character below kAlphabetEnd the byte that it writes, or -1.
constexpr std::array<int16_t, kAlphabetEnd> MakeByteOfChar() {
  std::array<int16_t, kAlphabetEnd> byte_of_char{};
  byte_of_char.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    byte_of_char[IsPrintable(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return byte_of_char;
}

constexpr std::array<int16_t, kAlphabetEnd> kByteOfChar = MakeByteOfChar();

}  // namespace

bool DecodeByteLevel(std::string_view encoded, std::string* out) {
  const size_t old_size = out->size();
  for (size_t i = 0; i < encoded.size();) {
    const Utf8Char c = DecodeUtf8(encoded, i);
    if (c.kind != Utf8Kind::kValid || c.code_point >= kAlphabetEnd ||
        kByteOfChar[c.code_point] < 0) {
      out->resize(old_size);
      return false;
    }
    out->push_back(static_cast<char>(kByteOfChar[c.code_point]));
    i += c.length;
  }
  return true;
}

std::string EncodeByteLevel(uint8_t byte) {
  std::string out;
  for (int c = 0; c < kAlphabetEnd; ++c) {
    if (kByteOfChar[c] == byte) {
      AppendUtf8(static_cast<uint32_t>(c), &out);
    }
  }
  return out;
}

}  // namespace quire
