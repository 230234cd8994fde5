#include "ops/soft_cap/soft_cap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/conformance.h"

namespace quire::ops::soft_cap {
namespace {

TEST(SoftCapTest, BendsLargeValuesTowardsTheCap) {
  CpuFixture cpu(1);
  std::vector<float> x = {0, 1, -30, 1e9f};
  ASSERT_TRUE(soft_cap::Run(cpu.Context(), {.x = {x.data(), DType::kF32, {2, 2}}, .cap = 30}).ok());
  EXPECT_FLOAT_EQ(x[0], 0);
  EXPECT_FLOAT_EQ(x[1], 0.99963f);    // 30 tanh(1 / 30)
  EXPECT_FLOAT_EQ(x[2], -22.84782f);  // -30 tanh(1)
  EXPECT_FLOAT_EQ(x[3], 30);
}

TEST(SoftCapTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  CpuFixture cpu(1);
  std::vector<float> x(4);
  const TensorView rows(x.data(), DType::kF32, {2, 2});
  EXPECT_THAT(soft_cap::Run(cpu.Context(), {.x = rows, .cap = 0}).message(),
              StartsWith("soft_cap: the cap is 0"));
  EXPECT_THAT(soft_cap::Run(cpu.Context(), {.x = rows.Columns(0, 1), .cap = 1}).message(),
              StartsWith("soft_cap: x is f32 [2, 1]"));
}

}  // namespace
}  // namespace quire::ops::soft_cap
