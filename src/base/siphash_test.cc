#include "base/siphash.h"

#include <gtest/gtest.h>

#include <string>

namespace quire {
namespace {

// The paper's example, and the first and the eighth of its authors' table: the key is the bytes 0
// .. 15, the text the bytes from 0 on.
TEST(SipHash, OfTheAuthorsExamples) {
  const SipHashKey key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  std::string text;
  for (char c = 0; c < 15; ++c) {
    text.push_back(c);
  }
  EXPECT_EQ(SipHash(key, text), 0xa129ca6149be45e5u);
  EXPECT_EQ(SipHash(key, ""), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(SipHash(key, std::string_view(text).substr(0, 8)), 0x93f5f5799a932462u);
}

TEST(SipHash, RandomKeysDiffer) {
  EXPECT_NE(SipHash(SipHashKey::Random(), "tenant"), SipHash(SipHashKey::Random(), "tenant"));
}

}  // namespace
}  // namespace quire
