// Draws follow the distribution that the contract defines: chi-square tests with fixed seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/conformance.h"
#include "ops/topk_topp_sampling/cpu_select.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {
namespace {

constexpr int kDraws = 20000;

// The distribution of the contract in double, by its definition.
std::vector<double> Exact(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  if (params.top_k > 0 && params.top_k < static_cast<int>(order.size())) {
    order.resize(params.top_k);
  }
  std::vector<double> p(logits.size(), 0.0);
  double total = 0;
  for (const int token : order) {
    total += p[token] = std::exp(static_cast<double>(logits[token]) / params.temperature);
  }
  double sum = 0;
  for (const int token : order) {
    const bool keep =
        (params.top_p >= 1 || sum < params.top_p * total) && p[token] >= params.min_p * p[order[0]];
    sum += p[token];
    p[token] = keep ? p[token] : 0;
  }
  const double kept = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& probability : p) {
    probability /= kept;
  }
  return p;
}

// How often each token comes in kDraws draws at the positions 0, 1, ... of one seed.
std::vector<int> Counts(std::vector<float> logits, SamplingParams params, uint64_t seed) {
  CpuFixture cpu(2);
  params.seed = seed;
  const auto vocabulary = static_cast<int64_t>(logits.size());
  const std::vector<SamplingParams> all(kDraws, params);
  std::vector<int64_t> positions(kDraws);
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<SampledToken> out(kDraws);
  const Args args = {.logits = {logits.data(), DType::kF32, {kDraws, vocabulary}, {0, 1}},
                     .params = all,
                     .positions = positions,
                     .out = out};
  const Status status = Run(cpu.Context(), args);
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<int> counts(logits.size());
  for (const SampledToken& sampled : out) {
    ++counts[sampled.token];
  }
  return counts;
}

// Chi-square of the draws against the exact distribution, rare tokens joined, in standard
// deviations of a chi-square variable above its mean.
double Excess(const std::vector<int>& counts, const std::vector<double>& p) {
  double chi_square = 0;
  int cells = 0;
  double rare_expected = 0;
  int rare_count = 0;
  for (size_t token = 0; token < counts.size(); ++token) {
    const double expected = p[token] * kDraws;
    EXPECT_TRUE(p[token] > 0 || counts[token] == 0) << "token " << token << " was cut";
    if (expected < 10) {
      rare_expected += expected;
      rare_count += counts[token];
      continue;
    }
    chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    ++cells;
  }
  if (rare_expected >= 10) {
    chi_square += (rare_count - rare_expected) * (rare_count - rare_expected) / rare_expected;
    ++cells;
  }
  const int freedom = std::max(cells - 1, 1);
  return (chi_square - freedom) / std::sqrt(2.0 * freedom);
}

TEST(SamplingDistributionTest, IsThatOfTheContract) {
  std::mt19937_64 rng(5);
  const std::vector<float> logits = RandomFloats(rng, 400, 0.0f, 2.0f);
  const SamplingParams all[] = {{},
                                {.temperature = 0.6f},
                                {.temperature = 2.5f},
                                {.top_k = 12},
                                {.top_p = 0.7f},
                                {.min_p = 0.08f},
                                {.temperature = 1.4f, .top_k = 60, .top_p = 0.9f, .min_p = 0.02f}};
  for (const SamplingParams& params : all) {
    const std::vector<double> p = Exact(logits, params);
    for (const uint64_t seed : {uint64_t{1}, uint64_t{0xdeadbeef12345678}}) {
      EXPECT_LT(Excess(Counts(logits, params, seed), p), 4.0)
          << "temperature " << params.temperature << " top_k " << params.top_k << " top_p "
          << params.top_p << " min_p " << params.min_p << " seed " << seed;
    }
  }
}

TEST(SamplingDistributionTest, AnotherDistributionWouldBeNoticed) {
  std::mt19937_64 rng(5);
  const std::vector<float> logits = RandomFloats(rng, 400, 0.0f, 2.0f);
  EXPECT_GT(Excess(Counts(logits, {}, 1), Exact(logits, {.temperature = 1.1f})), 4.0);
}

// Seeds next to each other, at one position, must be as good as positions of one seed.
TEST(SamplingDistributionTest, NeighbouringSeedsAreIndependent) {
  std::vector<double> p(64, 1.0 / 64);
  std::vector<int> counts(64);
  for (int seed = 0; seed < kDraws; ++seed) {
    ++counts[static_cast<size_t>(Uniform(seed, 3) * 64)];
  }
  EXPECT_LT(Excess(counts, p), 4.0);
}

TEST(KeyTest, OrdersByLogitThenToken) {
  EXPECT_LT(KeyOf(2.0f, 9), KeyOf(1.0f, 0));
  EXPECT_LT(KeyOf(1.0f, 3), KeyOf(1.0f, 4));
  EXPECT_LT(KeyOf(-1.0f, 3), KeyOf(-2.0f, 0));
  EXPECT_LT(KeyOf(0.0f, 1), KeyOf(-0.0f, 2));
  EXPECT_LT(KeyOf(-0.0f, 1), KeyOf(0.0f, 2));
  EXPECT_LT(KeyOf(-1e30f, 9), KeyOf(-HUGE_VALF, 0));
  for (const float logit : {-3.5f, 0.0f, 1e-40f, 2e30f, -HUGE_VALF}) {
    EXPECT_EQ(LogitOf(KeyOf(logit, 123456)), logit);
    EXPECT_EQ(TokenOf(KeyOf(logit, 123456)), 123456);
  }
}

TEST(DrawWeightTest, IsExactWhereSixtyFourBitsWouldOverflow) {
  constexpr uint64_t kTotal = (uint64_t{1} << 62) + 12345;
  EXPECT_EQ(DrawWeight(0.0f, kTotal), 1);
  EXPECT_EQ(DrawWeight(0.5f, kTotal), kTotal / 2 + 1);
  EXPECT_LE(DrawWeight(0x1.fffffep-1f, kTotal), kTotal);
  EXPECT_EQ(DrawWeight(0x1.fffffep-1f, 1), 1);
}

TEST(SelectByWeightTest, FindsTheShortestPrefixOfAnyWeight) {
  std::mt19937_64 rng(7);
  std::vector<Candidate> sorted;
  for (const int32_t value : RandomInts(rng, 300, 0, 40)) {
    sorted.push_back({KeyOf(static_cast<float>(value), static_cast<int32_t>(sorted.size())),
                      static_cast<uint64_t>(value % 5)});
  }
  std::vector<Candidate> shuffled = sorted;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.key < b.key; });
  uint64_t sum = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    for (uint64_t wanted = sum + 1; wanted <= sum + sorted[i].weight; ++wanted) {
      ASSERT_EQ(SelectByWeight(shuffled.data(), 300, wanted), i + 1);
      ASSERT_EQ(shuffled[i].key, sorted[i].key);
    }
    sum += sorted[i].weight;
  }
}

}  // namespace
}  // namespace quire::ops::topk_topp_sampling
