#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace quire {
namespace {

// The numbers of code points that the engine of Hugging Face tokenizers 0.23.3 (Unicode 16.0)
// matches with
// \p{L}, \p{N}, \p{M}, \p{P}, \p{S} and \s, every code point but the surrogates tried.
TEST(UnicodeTest, ClassesHaveAsManyMembersAsInTheReferenceEngine) {
  std::array<int, 64> members{};
  for (uint32_t c = 0; c < 0x110000; ++c) {
    ++members[ClassOf(c)];
  }
  EXPECT_EQ(members[kLetter], 141028);
  EXPECT_EQ(members[kNumber], 1911);
  EXPECT_EQ(members[kMark], 2501);
  EXPECT_EQ(members[kPunctuation], 855);
  EXPECT_EQ(members[kSymbol], 8514);
  EXPECT_EQ(members[kSpace], 25);
  EXPECT_EQ(members[0], 0x110000 - 141028 - 1911 - 2501 - 855 - 8514 - 25);
}

void ExpectClass(uint8_t expected, std::initializer_list<uint32_t> code_points) {
  for (const uint32_t c : code_points) {
    EXPECT_EQ(ClassOf(c), expected) << std::hex << c;
  }
}

TEST(UnicodeTest, ClassesAtEdgesOfRanges) {
  ExpectClass(kSpace, {0x09, 0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A, 0x2028, 0x2029, 0x202F,
                       0x205F, 0x3000});
  ExpectClass(kLetter, {'A', 'Z', 'a', 'z', 0xAA, 0xB5, 0x370, 0x3A3, 0x4E00, 0x9FFF, 0xA000,
                        0xAC00, 0xD7A3, 0x20000, 0x2A6DF});
  ExpectClass(kNumber, {'0', '9', 0xB2, 0x660, 0x2160, 0x1D7FF});
  ExpectClass(kMark, {0x300, 0x36F, 0x93E, 0xE0100, 0xE01EF});
  ExpectClass(kPunctuation, {'!', '/', ':', '@', '[', '_', '{', '}', 0xA1, 0x2010, 0x3001});
  ExpectClass(kSymbol,
              {'$', '+', '<', '>', '^', '`', '|', '~', 0xD7, 0xF7, 0x2FF, 0x4DFF, 0xFFFD, 0x1F600});
  ExpectClass(0, {0x00, 0x08, 0x0E, 0x1F, 0x7F, 0x84, 0x86, 0xAD, 0x3A2, 0x200B, 0x2A6E0, 0xD7A4,
                  0xD800, 0xE000, 0x10FFFF, 0x110000, 0xFFFFFFFF});
}

TEST(UnicodeTest, EveryCodePointIsReadAsItIsWritten) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Char read = DecodeUtf8(text, 0);
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(read.kind, surrogate ? Utf8Kind::kInvalid : Utf8Kind::kValid) << std::hex << c;
    if (!surrogate) {
      ASSERT_EQ(read.code_point, c);
      ASSERT_EQ(read.length, text.size());
    }
  }
}

TEST(UnicodeTest, EveryCutCodePointIsTruncated) {
  for (const uint32_t c : {0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    std::string text;
    AppendUtf8(c, &text);
    for (size_t size = 1; size < text.size(); ++size) {
      const Utf8Char read = DecodeUtf8(std::string_view(text).substr(0, size), 0);
      EXPECT_EQ(read.kind, Utf8Kind::kTruncated) << std::hex << c << " " << size;
      EXPECT_EQ(read.length, size);
    }
  }
}

struct BrokenCase {
  std::string_view bytes;
  std::vector<int> lengths;  // of the pieces; valid ones negative
};

// The examples of the Unicode standard's table of maximal subparts, and the forms that are never
// valid.
TEST(UnicodeTest, BrokenBytesComeInMaximalSubparts) {
  const BrokenCase cases[] = {
      {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", {-1, 3, 2, 1, -1, 1, -1, 1, 1, -1}},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", {1, 1, 1, 1, 1, 1, 1, 1, -1}},
      {"\xED\xA0\x80\xED\xBF\xBF\x41", {1, 1, 1, 1, 1, 1, -1}},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", {1, 1, 1, 1, 1, -1, 1, 1, -1}},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", {2, 1, 3, 2, -1}},
  };
  for (const BrokenCase& c : cases) {
    std::vector<int> lengths;
    for (size_t i = 0; i < c.bytes.size();) {
      const Utf8Char read = DecodeUtf8(c.bytes, i);
      lengths.push_back(read.kind == Utf8Kind::kValid ? -read.length : read.length);
      i += read.length;
    }
    EXPECT_EQ(lengths, c.lengths);
  }
}

}  // namespace
}  // namespace quire
