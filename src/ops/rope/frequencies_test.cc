#include "ops/rope/frequencies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/fixture_file.h"

namespace quire::ops::rope {
namespace {

Scaling ScalingOf(const FixtureCase& c) {
  Scaling scaling;
  scaling.kind = static_cast<ScalingKind>(c.integer("scaling"));
  scaling.factor = c.has("factor") ? c.number("factor") : 1.0;
  if (c.has("low")) {
    scaling.low_freq_factor = c.number("low");
    scaling.high_freq_factor = c.number("high");
  }
  if (c.has("original")) {
    scaling.original_max_position = c.integer("original");
  }
  if (c.has("fast")) {
    scaling.beta_fast = c.number("fast");
    scaling.beta_slow = c.number("slow");
    scaling.truncate = c.integer("truncate") != 0;
  }
  if (c.has("mscale")) {
    scaling.mscale = c.number("mscale");
    scaling.mscale_all_dim = c.number("mscale_all_dim");
  }
  return scaling;
}

TEST(RopeFrequenciesFixture, AgreeWithPyTorch) {
  int count = 0;
  for (const FixtureCase& c : LoadFixture("rope")) {
    if (!c.has("scaling")) {
      continue;
    }
    SCOPED_TRACE(c.name());
    const Result<Frequencies> frequencies =
        ComputeFrequencies(c.number("base"), c.integer("rotary_dim"), ScalingOf(c));
    ASSERT_TRUE(frequencies.ok()) << frequencies.status().message();
    EXPECT_EQ(Mismatch(frequencies->inverse, c.array("inverse_frequency").floats(),
                       {.rtol = 1.2e-7, .atol = 0}),
              "");
    EXPECT_NEAR(frequencies->attention_factor, c.number("attention_factor"), 1e-6);
    ++count;
  }
  EXPECT_EQ(count, 6);
}

TEST(RopeFrequenciesTest, AGivenAttentionFactorWins) {
  const Scaling scaling = {.kind = ScalingKind::kYarn,
                           .factor = 4.0,
                           .attention_factor = 0.75,
                           .mscale = 2.0,
                           .mscale_all_dim = 1.0};
  EXPECT_EQ(ComputeFrequencies(10000.0, 64, scaling)->attention_factor, 0.75f);
}

TEST(RopeFrequenciesTest, AFactorOfOneChangesNothing) {
  const std::vector<float> plain = ComputeFrequencies(10000.0, 64, {})->inverse;
  for (const ScalingKind kind : {ScalingKind::kLinear, ScalingKind::kLlama3, ScalingKind::kYarn}) {
    const Result<Frequencies> scaled = ComputeFrequencies(10000.0, 64, {.kind = kind});
    EXPECT_EQ(Mismatch(scaled->inverse, plain, {.rtol = 1.2e-7, .atol = 0}), "");
    EXPECT_EQ(scaled->attention_factor, 1.0f);
  }
}

TEST(RopeFrequenciesErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  const auto error = [](double base, int64_t rotary_dim, const Scaling& scaling) {
    return ComputeFrequencies(base, rotary_dim, scaling).status().message();
  };
  EXPECT_THAT(error(10000.0, 5, {}), StartsWith("rope: rotary_dim is 5"));
  EXPECT_THAT(error(1.0, 8, {}), StartsWith("rope: base is 1"));
  EXPECT_THAT(error(std::numeric_limits<double>::quiet_NaN(), 8, {}),
              StartsWith("rope: base is nan"));
  EXPECT_THAT(error(10000.0, 8, {.kind = ScalingKind::kLinear, .factor = 0.0}),
              StartsWith("rope: factor is 0"));
  EXPECT_THAT(error(10000.0, 8, {.kind = ScalingKind::kYarn, .original_max_position = 0}),
              StartsWith("rope: original_max_position is 0"));
  EXPECT_THAT(error(10000.0, 8, {.kind = ScalingKind::kYarn, .beta_fast = 0.5}),
              StartsWith("rope: beta_slow is 1, beta_fast 0.5"));
  EXPECT_THAT(error(10000.0, 8, {.kind = ScalingKind::kLlama3, .low_freq_factor = 4.0}),
              StartsWith("rope: low_freq_factor is 4, high_freq_factor 4"));
}

}  // namespace
}  // namespace quire::ops::rope
