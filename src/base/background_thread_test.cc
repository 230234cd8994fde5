#include "base/background_thread.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <future>

namespace quire {
namespace {

TEST(BackgroundThread, RunsAtIdlePriorityAndOthersKeepTheirs) {
  const int own = ::sched_getscheduler(0);
  std::promise<int> found;
  const std::jthread thread = StartBackgroundThread(
      [&](const std::stop_token&) { found.set_value(::sched_getscheduler(0)); });
  EXPECT_EQ(found.get_future().get(), SCHED_IDLE);
  EXPECT_EQ(::sched_getscheduler(0), own);
}

TEST(BackgroundThread, EndsWhenAskedTo) {
  std::atomic<bool> ended = false;
  {
    const std::jthread thread = StartBackgroundThread([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        std::this_thread::yield();
      }
      ended = true;
    });
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace quire
