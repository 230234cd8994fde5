#include "base/check.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(CheckTest, PassesQuietly) {
  int evaluations = 0;
  QUIRE_CHECK(++evaluations == 1) << "not reached";
  QUIRE_CHECK_EQ(++evaluations, 2);
  QUIRE_CHECK_LT(1, 2);
  QUIRE_CHECK_LE(2, 2);
  QUIRE_CHECK_GT(2, 1);
  QUIRE_CHECK_GE(2, 2);
  QUIRE_CHECK_NE(1, 2);
  EXPECT_EQ(evaluations, 2);
}

TEST(CheckTest, MessageIsNotBuiltWhenItPasses) {
  int built = 0;
  QUIRE_CHECK(true) << ++built;
  EXPECT_EQ(built, 0);
}

TEST(CheckTest, FitsIntoUnbracedIf) {
  bool other = false;
  // clang-format off
  if (true)
    QUIRE_CHECK(true);
  else
    other = true;
  // clang-format on
  EXPECT_FALSE(other);
}

TEST(CheckDeathTest, NamesPlaceConditionAndMessage) {
  const int pages = 3;
  EXPECT_DEATH(QUIRE_CHECK(pages == 4) << "pages of sequence " << 9,
               "check_test.cc:[0-9]+: check failed: pages == 4 pages of sequence 9");
}

TEST(CheckDeathTest, ComparisonsShowBothValues) {
  const int pages = 3;
  EXPECT_DEATH(QUIRE_CHECK_EQ(pages, 4), "\\(3 vs 4\\)");
  EXPECT_DEATH(QUIRE_CHECK_NE(pages, 3), "\\(3 vs 3\\)");
  EXPECT_DEATH(QUIRE_CHECK_LT(pages, 3) << "too many", "\\(3 vs 3\\) too many");
  EXPECT_DEATH(QUIRE_CHECK_LE(pages, 2), "\\(3 vs 2\\)");
  EXPECT_DEATH(QUIRE_CHECK_GT(pages, 3), "\\(3 vs 3\\)");
  EXPECT_DEATH(QUIRE_CHECK_GE(pages, 4), "\\(3 vs 4\\)");
}

}  // namespace
}  // namespace quire
