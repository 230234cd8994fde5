#include "tokenizer/byte_level.h"

#include <gtest/gtest.h>

#include <set>

namespace quire {
namespace {

TEST(ByteLevelTest, EveryByteHasItsOwnCharacter) {
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string encoded = EncodeByteLevel(static_cast<uint8_t>(byte));
    EXPECT_TRUE(seen.insert(encoded).second) << byte;
    std::string decoded;
    ASSERT_TRUE(DecodeByteLevel(encoded, &decoded)) << byte;
    EXPECT_EQ(decoded, std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteLevelTest, KnownCharacters) {
  EXPECT_EQ(EncodeByteLevel(' '), "Ġ");
  EXPECT_EQ(EncodeByteLevel('\n'), "Ċ");
  EXPECT_EQ(EncodeByteLevel('a'), "a");
  EXPECT_EQ(EncodeByteLevel(0xAD), "Ń");
  EXPECT_EQ(EncodeByteLevel(0xFF), "ÿ");
}

TEST(ByteLevelTest, OtherCharactersAreRefused) {
  for (const std::string_view text : {"a b", "\n", "Ņ", "▁", "a\xC4", "\xAD"}) {
    std::string out = "kept";
    EXPECT_FALSE(DecodeByteLevel(text, &out)) << text;
    EXPECT_EQ(out, "kept");
  }
}

}  // namespace
}  // namespace quire
