#include "base/test_seed.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(TestSeedTest, TakesTheGivenSeed) {
  EXPECT_EXIT(
      {
        ::setenv("QUIRE_TEST_SEED", "12345678901234", 1);
        std::exit(TestSeed() == 12345678901234 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(TestSeedTest, DrawsASeedIfNoneIsGiven) {
  EXPECT_EXIT(
      {
        ::unsetenv("QUIRE_TEST_SEED");
        std::exit(TestSeed() != TestSeed() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace quire
