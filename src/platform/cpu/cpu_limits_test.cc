#include "platform/cpu/cpu_limits.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

// The sums are what the rates count, so a loop that skipped products would show here.
TEST(CpuLimitsTest, SumsAreTheProductsOfEachInstructionSet) {
  const int64_t products[] = {64, 6 * 8 * 32, 12 * 64};  // of a round
  for (const CpuIsa isa : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    if (isa > DetectCpuIsa()) {
      continue;
    }
    for (const int rounds : {0, 1, 1000}) {
      EXPECT_EQ(SumInt8Products(isa, rounds), rounds * products[static_cast<int>(isa)])
          << CpuIsaName(isa);
    }
  }
}

TEST(CpuLimitsTest, RatesAreThoseOfSomeMachine) {
  const auto device = CpuDevice::Create(2);
  ASSERT_TRUE(device.ok()) << device.status().message();
  CpuStream stream(**device);
  EXPECT_GT(Int8Rate(stream), 1e7);
  EXPECT_LT(Int8Rate(stream), 1e14);
  EXPECT_GT(ReadBandwidth(stream), 1e7);
  EXPECT_LT(ReadBandwidth(stream), 1e13);
}

}  // namespace
}  // namespace quire
