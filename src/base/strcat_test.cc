#include "base/strcat.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>

namespace quire {
namespace {

TEST(StrCatTest, JoinsTextOfEveryKind) {
  const std::string owned = "owned";
  const std::string_view view = "view";
  const char* pointer = "pointer";
  EXPECT_EQ(StrCat(), "");
  EXPECT_EQ(StrCat("literal ", owned, ' ', view, ' ', pointer), "literal owned view pointer");
  EXPECT_EQ(StrCat(std::string_view("a\0b", 3)).size(), 3U);
}

TEST(StrCatTest, Integers) {
  EXPECT_EQ(StrCat(0, " ", -17, " ", 42U), "0 -17 42");
  EXPECT_EQ(StrCat(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(StrCat(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(StrCat(uint8_t{65}, int8_t{-1}), "65-1");  // numbers, not characters
  EXPECT_EQ(StrCat('A'), "A");
}

TEST(StrCatTest, FloatsReadBackToTheSameValue) {
  EXPECT_EQ(StrCat(0.5F, " ", 0.1, " ", -2.0), "0.5 0.1 -2");
  for (const double value : {1.0 / 3, 1e300, 5e-324, std::numeric_limits<double>::max()}) {
    EXPECT_EQ(std::strtod(StrCat(value).c_str(), nullptr), value);
  }
  EXPECT_EQ(StrCat(std::numeric_limits<double>::infinity()), "inf");
}

TEST(StrCatTest, Bools) {
  EXPECT_EQ(StrCat(true, ' ', false), "true false");
}

}  // namespace
}  // namespace quire
