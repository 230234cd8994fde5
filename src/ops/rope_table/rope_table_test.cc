#include "ops/rope_table/rope_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ops/conformance.h"

namespace quire::ops::rope_table {
namespace {

TEST(RopeTableTest, HasCosAndSinOfTheAngleFormedInSinglePrecision) {
  CpuFixture cpu(1);
  std::vector<int32_t> positions = {0, 7, 100003};
  std::vector<float> frequencies = {1.0f, 0.1f};
  std::vector<float> out(3 * 2 * 2);
  ASSERT_TRUE(
      rope_table::Run(cpu.Context(), {.positions = {positions.data(), DType::kI32, {3}},
                                      .inverse_frequency = {frequencies.data(), DType::kF32, {2}},
                                      .out = {out.data(), DType::kF32, {3, 2, 2}},
                                      .scale = 2.0f})
          .ok());
  for (size_t t = 0; t < 3; ++t) {
    for (size_t i = 0; i < 2; ++i) {
      const float angle = static_cast<float>(positions[t]) * frequencies[i];
      EXPECT_NEAR(out[(t * 2 + i) * 2], 2 * std::cos(double{angle}), 1e-6) << t << " " << i;
      EXPECT_NEAR(out[(t * 2 + i) * 2 + 1], 2 * std::sin(double{angle}), 1e-6) << t << " " << i;
    }
  }
}

TEST(RopeTableTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  CpuFixture cpu(1);
  std::vector<int32_t> positions(3);
  std::vector<float> data(16);
  const TensorView ids(positions.data(), DType::kI32, {3});
  const TensorView frequencies(data.data(), DType::kF32, {2});
  const TensorView out(data.data(), DType::kF32, {3, 2, 2});
  const auto error = [&](const Args& args) {
    return rope_table::Run(cpu.Context(), args).message();
  };
  EXPECT_THAT(error({.positions = out, .inverse_frequency = frequencies, .out = out}),
              StartsWith("rope_table: positions is f32 [3, 2, 2]"));
  EXPECT_THAT(error({.positions = ids, .inverse_frequency = ids, .out = out}),
              StartsWith("rope_table: inverse_frequency is i32 [3]"));
  EXPECT_THAT(error({.positions = ids, .inverse_frequency = frequencies, .out = out.Rows(0, 2)}),
              StartsWith("rope_table: out is f32 [2, 2, 2]"));
}

}  // namespace
}  // namespace quire::ops::rope_table
