#include "base/clock.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(ClockTest, SteadyClockNeverGoesBack) {
  const SteadyClock clock;
  int64_t last = clock.NowNs();
  for (int i = 0; i < 1000; ++i) {
    const int64_t now = clock.NowNs();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, ManualClockMovesWhenTold) {
  ManualClock manual;
  const Clock& clock = manual;
  EXPECT_EQ(clock.NowNs(), 0);
  manual.Advance(1'500'000'000);
  EXPECT_EQ(clock.NowNs(), 1'500'000'000);
  manual.Advance(1);
  EXPECT_EQ(clock.NowNs(), 1'500'000'001);
}

}  // namespace
}  // namespace quire
