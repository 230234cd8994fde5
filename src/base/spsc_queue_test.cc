#include "base/spsc_queue.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/test_seed.h"

namespace quire {
namespace {

TEST(SpscQueueTest, KeepsOrderAndCapacity) {
  SpscQueue<int> queue(3);
  int out = -1;
  EXPECT_FALSE(queue.TryPop(out));
  EXPECT_EQ(out, -1);
  for (int round = 0; round < 5; ++round) {  // several times around the ring
    for (int i = 0; i < 3; ++i) {
      int value = 10 * round + i;
      EXPECT_TRUE(queue.TryPush(value));
    }
    int extra = 99;
    EXPECT_FALSE(queue.TryPush(extra));
    EXPECT_EQ(extra, 99);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(queue.TryPop(out));
      EXPECT_EQ(out, 10 * round + i);
    }
    EXPECT_FALSE(queue.TryPop(out));
  }
}

TEST(SpscQueueTest, FullQueueLeavesTheValueAlone) {
  SpscQueue<std::unique_ptr<int>> queue(1);
  auto first = std::make_unique<int>(1);
  auto second = std::make_unique<int>(2);
  EXPECT_TRUE(queue.TryPush(first));
  EXPECT_EQ(first, nullptr);
  EXPECT_FALSE(queue.TryPush(second));
  ASSERT_NE(second, nullptr);
  std::unique_ptr<int> out;
  ASSERT_TRUE(queue.TryPop(out));
  EXPECT_EQ(*out, 1);
}

TEST(SpscQueueTest, TwoThreads) {
  constexpr uint64_t kValues = 100000;
  const uint64_t seed = TestSeed();
  SpscQueue<std::vector<uint64_t>> queue(1 + seed % 17);  // vectors: a torn value would be noticed
  std::thread producer([&] {
    for (uint64_t i = 0; i < kValues; ++i) {
      std::vector<uint64_t> value = {i, i * i};
      while (!queue.TryPush(value)) {
        std::this_thread::yield();
      }
    }
  });
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kValues; ++i) {
    std::vector<uint64_t> value;
    while (!queue.TryPop(value)) {
      std::this_thread::yield();
    }
    wrong += value == std::vector<uint64_t>{i, i * i} ? 0 : 1;
  }
  producer.join();
  EXPECT_EQ(wrong, 0U);
}

TEST(SpscQueueDeathTest, NoCapacity) {
  EXPECT_DEATH(SpscQueue<int>(0), "\\(0 vs 1\\)");
}

}  // namespace
}  // namespace quire
