#include "platform/cuda/pinned_pool.h"

#include <gtest/gtest.h>

#include <cstring>

#include "platform/cpu/cpu_device.h"

namespace quire {
namespace {

TEST(PinnedPoolTest, LendsAgainWhatCameBack) {
  Result<std::unique_ptr<CpuDevice>> device = CpuDevice::Create(1);
  ASSERT_TRUE(device.ok());
  PinnedPool pool(**device);
  std::shared_ptr<std::byte> first = *pool.Take(5000);
  std::memset(first.get(), 1, 5000);
  const std::byte* const address = first.get();
  const std::shared_ptr<std::byte> second = *pool.Take(5000);
  EXPECT_NE(second.get(), address);
  const std::shared_ptr<std::byte> copy = first;
  first.reset();
  EXPECT_NE(pool.Take(10)->get(), address);  // the copy still has it
}

TEST(PinnedPoolTest, TakesTheFirstThatIsLargeEnough) {
  Result<std::unique_ptr<CpuDevice>> device = CpuDevice::Create(1);
  ASSERT_TRUE(device.ok());
  PinnedPool pool(**device);
  const std::byte* const small = pool.Take(100)->get();
  const std::byte* const large = pool.Take(100000)->get();
  EXPECT_EQ(pool.Take(90000)->get(), large);
  EXPECT_EQ(pool.Take(4096)->get(), small);
}

TEST(PinnedPoolTest, WhatItLentMayOutliveIt) {
  Result<std::unique_ptr<CpuDevice>> device = CpuDevice::Create(1);
  ASSERT_TRUE(device.ok());
  std::shared_ptr<std::byte> lent;
  {
    PinnedPool pool(**device);
    lent = *pool.Take(64);
  }
  std::memset(lent.get(), 1, 64);
}

}  // namespace
}  // namespace quire
