// The byte alphabet of GPT-2: byte-level BPE vocabularies write each byte as one printable
// character.
//
// Source: byte_to_unicode of the GPT-2 encoder. The 188 printable bytes of Latin-1 stand for
// themselves, the other 68 are U+0100 ... U+0143 in ascending order (a space is U+0120).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

// Appends the bytes that `encoded` (UTF-8) writes to `out`. False, with `out` unchanged, if a
// character is outside the alphabet.
bool DecodeByteLevel(std::string_view encoded, std::string* out);

// The character that writes `byte`, in UTF-8. The inverse of DecodeByteLevel.
std::string EncodeByteLevel(uint8_t byte);

}  // namespace quire
