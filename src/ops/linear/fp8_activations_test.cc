// What activations become with ActivationMode::kFp8.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/test_seed.h"
#include "ops/linear/quantize_activations.h"
#include "ops/linear/weight_sources.h"

namespace quire::ops::linear {
namespace {

std::vector<float> Rounded(const std::vector<float>& x) {
  std::vector<float> out(x.size());
  RoundToFp8(x.data(), static_cast<int64_t>(x.size()), out.data());
  return out;
}

TEST(Fp8ActivationsTest, CodesAreTheNearestTimesTheScale) {
  // The scale is 2: codes 448, 17 (a tie, to the even 16), 19 (to 20), 3.3 (to 3.25), 2^-10 (to 0).
  std::vector<float> x(128, 0.0f);
  const std::vector<float> first = {-896.0f, 34.0f, 38.0f, 6.6f, 0x1p-9f};
  std::copy(first.begin(), first.end(), x.begin());
  const std::vector<float> rounded = Rounded(x);
  const std::vector<float> expected = {-896.0f, 32.0f, 40.0f, 6.5f, 0.0f, 0.0f};
  EXPECT_EQ(std::vector<float>(rounded.begin(), rounded.begin() + 6), expected);
}

TEST(Fp8ActivationsTest, EachGroupHasItsScaleAlsoAShortOne) {
  std::vector<float> x(300, 1.0f);
  x[0] = 44800.0f;  // a scale of 100
  x[256] = 1.03f;
  x[299] = 4.48f;
  const std::vector<float> rounded = Rounded(x);
  EXPECT_FLOAT_EQ(rounded[1], 100.0f * 0x5p-9f);  // 0.01 is 5.12 of the smallest steps
  EXPECT_FLOAT_EQ(rounded[128], 1.0f);
  EXPECT_FLOAT_EQ(rounded[255], 1.0f);
  EXPECT_FLOAT_EQ(rounded[256], 1.04f);  // codes about 100 are 8 apart
  EXPECT_FLOAT_EQ(rounded[299], 4.48f);
}

TEST(Fp8ActivationsTest, LosesAnEighthOfTheLowestPlaceAtMost) {
  std::mt19937_64 rng(TestSeed());
  const std::vector<float> x = RandomFloats(rng, 1000);
  const std::vector<float> rounded = Rounded(x);
  for (size_t i = 0; i < x.size(); ++i) {
    float largest = 0;
    for (size_t j = i / 128 * 128; j < std::min<size_t>(i / 128 * 128 + 128, x.size()); ++j) {
      largest = std::max(largest, std::abs(x[j]));
    }
    const float step = std::max(std::abs(x[i]) / 16, largest / 448 * 0x1p-10f);
    EXPECT_LE(std::abs(rounded[i] - x[i]), step * 1.001f) << i;
  }
}

TEST(Fp8ActivationsTest, SpecialGroupsSpareTheOthers) {
  std::vector<float> x(384, 2.0f);
  std::fill(x.begin(), x.begin() + 128, 0x1p-101f);
  for (const float bad : {std::numeric_limits<float>::infinity(), NAN}) {
    x[130] = bad;
    const std::vector<float> rounded = Rounded(x);
    EXPECT_EQ(rounded[5], 0.0f);
    EXPECT_TRUE(std::isnan(rounded[128]) && std::isnan(rounded[130]) && std::isnan(rounded[255]));
    EXPECT_EQ(rounded[256], 2.0f);
  }
}

// A row that holds a NaN gives NaNs, and its neighbours give numbers, in every implementation.
TEST(Fp8ActivationsTest, DamageShowsInItsRowAlone) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(TestSeed());
  const SourceWeight weight(rng, KindNamed("f8_square"), 20, 200);
  const auto packed =
      PackWeight(cpu.Context(), std::span(&weight.source(), 1), ActivationMode::kFp8);
  ASSERT_TRUE(packed.ok()) << packed.status().message();
  TypedArray x(DType::kF32, {3, 200});
  std::vector<float> values(600, 0.0f);
  values[210] = NAN;
  x.Assign(values);
  for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
    TypedArray out(DType::kF32, {3, 20});
    const Args args = {.x = x.View(), .weight = packed->get(), .bias = {}, .out = out.View()};
    const OpContext context = cpu.Context(implementation.name);
    if (!implementation.accepts(context, args)) {
      continue;
    }
    ASSERT_TRUE(linear::Run(context, args).ok());
    const std::vector<float> result = out.Values();
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(result[i], 0.0f) << implementation.name;
      EXPECT_TRUE(std::isnan(result[20 + i])) << implementation.name;
      EXPECT_EQ(result[40 + i], 0.0f) << implementation.name;
    }
  }
}

// Two terms lose far less than one.
TEST(Fp8ActivationsTest, SplitActivationsKeepWhatRoundingLoses) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(TestSeed());
  const SourceWeight weight(rng, KindNamed("f8_feature"), 24, 300);
  TypedArray x(DType::kF32, {2, 300});
  x.Assign(RandomFloats(rng, 600));
  const auto result = [&](ActivationMode mode, bool split) {
    const auto packed = PackWeight(cpu.Context(), std::span(&weight.source(), 1), mode);
    QUIRE_CHECK(packed.ok()) << packed.status().message();
    TypedArray out(DType::kF32, {2, 24});
    Args args = {.x = x.View(), .weight = packed->get(), .bias = {}, .out = out.View()};
    args.split_activations = split;
    QUIRE_CHECK(linear::Run(cpu.Context(), args).ok());
    return out.Values();
  };
  const std::vector<float> exact = result(ActivationMode::kFp32, false);
  const auto error = [&](const std::vector<float>& values) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += std::abs(double{values[i]} - exact[i]);
    }
    return sum;
  };
  const double one = error(result(ActivationMode::kFp8, false));
  EXPECT_GT(one, 0);
  EXPECT_LT(error(result(ActivationMode::kFp8, true)), one / 8);
}

}  // namespace
}  // namespace quire::ops::linear
