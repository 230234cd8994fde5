#include "tokenizer/unicode.h"

#include <algorithm>

#include "base/check.h"
#include "tokenizer/unicode_tables.h"

namespace quire {

namespace {

constexpr uint32_t kReplacement = 0xFFFD;

uint8_t AsciiClass(uint32_t c) {
  if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
    return kLetter;
  }
  if (c >= '0' && c <= '9') {
    return kNumber;
  }
  if (c == ' ' || (c >= '\t' && c <= '\r')) {
    return kSpace;
  }
  if (c < 0x20 || c == 0x7F) {
    return 0;
  }
  constexpr std::string_view kSymbols = "$+<=>^`|~";
  return kSymbols.find(static_cast<char>(c)) != std::string_view::npos ? kSymbol : kPunctuation;
}

// What the first byte of a sequence says: its length, and the range its second byte must be in.
struct Lead {
  uint8_t length;  // 0: not a first byte
  uint8_t low;
  uint8_t high;
};

Lead LeadOf(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

uint8_t ClassOf(uint32_t code_point) {
  if (code_point < 0x80) {
    return AsciiClass(code_point);
  }
  if (code_point > 0x10FFFF) {
    return 0;
  }
  const uint32_t* begin = unicode_tables::kClassRanges;
  const uint32_t* end = begin + unicode_tables::kClassRangeCount;
  const uint32_t* after = std::upper_bound(begin, end, code_point << 8 | 0xFF);
  return static_cast<uint8_t>(*(after - 1) & 0xFF);
}

Utf8Char DecodeUtf8(std::string_view text, size_t offset) {
  const auto byte_at = [&](size_t i) { return static_cast<uint8_t>(text[offset + i]); };
  const uint8_t first = byte_at(0);
  if (first < 0x80) {
    return {Utf8Kind::kValid, 1, first};
  }
  const Lead lead = LeadOf(first);
  if (lead.length == 0) {
    return {Utf8Kind::kInvalid, 1, kReplacement};
  }
  const size_t left = text.size() - offset;
  uint32_t code_point = first & (0x7F >> lead.length);
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (i == left) {
      return {Utf8Kind::kTruncated, i, kReplacement};
    }
    const uint8_t byte = byte_at(i);
    const bool continues = i == 1 ? byte >= lead.low && byte <= lead.high : (byte & 0xC0) == 0x80;
    if (!continues) {
      return {Utf8Kind::kInvalid, i, kReplacement};
    }
    code_point = code_point << 6 | (byte & 0x3F);
  }
  return {Utf8Kind::kValid, lead.length, code_point};
}

void AppendUtf8(uint32_t code_point, std::string* out) {
  QUIRE_CHECK_LE(code_point, 0x10FFFFu);
  if (code_point < 0x80) {
    out->push_back(static_cast<char>(code_point));
    return;
  }
  if (code_point < 0x800) {
    out->push_back(static_cast<char>(0xC0 | code_point >> 6));
  } else {
    if (code_point < 0x10000) {
      out->push_back(static_cast<char>(0xE0 | code_point >> 12));
    } else {
      out->push_back(static_cast<char>(0xF0 | code_point >> 18));
      out->push_back(static_cast<char>(0x80 | (code_point >> 12 & 0x3F)));
    }
    out->push_back(static_cast<char>(0x80 | (code_point >> 6 & 0x3F)));
  }
  out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
}

std::string RepairUtf8(std::string_view bytes, std::string* rest) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Char c = DecodeUtf8(bytes, i);
    if (c.kind == Utf8Kind::kTruncated && rest != nullptr) {
      *rest = bytes.substr(i);
      return out;
    }
    out.append(c.kind == Utf8Kind::kValid ? bytes.substr(i, c.length) : kReplacementCharacter);
    i += c.length;
  }
  return out;
}

}  // namespace quire
