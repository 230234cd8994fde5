// Draws follow the distribution that the contract defines: chi-square tests with fixed seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/conformance.h"
#include "ops/topk_topp_sampling/cpu_select.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/sampling_statistics.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {
namespace {

constexpr int kDraws = 20000;

// How often each token comes in kDraws draws at the positions 0, 1, ... of one seed.
std::vector<int> Counts(std::vector<float> logits, SamplingParams params, uint64_t seed,
                        const TokenHistory& history = {}) {
  CpuFixture cpu(2);
  params.seed = seed;
  const auto vocabulary = static_cast<int64_t>(logits.size());
  const std::vector<SamplingParams> all(kDraws, params);
  std::vector<int64_t> positions(kDraws);
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<SampledToken> out(kDraws);
  const std::vector<TokenHistory> histories(kDraws, history);
  const Args args = {.logits = {logits.data(), DType::kF32, {kDraws, vocabulary}, {0, 1}},
                     .params = all,
                     .positions = positions,
                     .history = histories,
                     .out = out};
  const Status status = Run(cpu.Context(), args);
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<int> counts(logits.size());
  for (const SampledToken& sampled : out) {
    ++counts[sampled.token];
  }
  return counts;
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
                                {.top_k = 90, .top_p = 0.5f},
                                {.top_k = 90, .top_p = 0.5f, .order = FilterOrder::kJoint},
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

// Large enough for estimates of where top-p ends.
TEST(SamplingDistributionTest, IsThatOfTheContractForALargeVocabulary) {
  std::mt19937_64 rng(6);
  const std::vector<float> logits = RandomFloats(rng, 5000, 0.0f, 3.0f);
  for (const SamplingParams& params : {SamplingParams{}, SamplingParams{.top_p = 0.8f}}) {
    EXPECT_LT(Excess(Counts(logits, params, 3), Exact(logits, params)), 4.0) << params.top_p;
  }
}

TEST(SamplingDistributionTest, PenaltiesAndBiasChangeTheLogits) {
  std::mt19937_64 rng(5);
  const std::vector<float> logits = RandomFloats(rng, 40, 0.0f, 1.0f);
  SamplingParams params = {.top_p = 0.9f,
                           .repetition_penalty = 1.5f,
                           .presence_penalty = 0.5f,
                           .frequency_penalty = -0.25f,
                           .logit_bias = {{3, 2.0f}, {4, -100.0f}}};
  const std::vector<int32_t> prompt = {1, 2, 3};
  const std::vector<int32_t> output = {2, 5, 5};
  std::vector<float> changed = logits;
  changed[3] += 2.0f;
  changed[4] -= 100.0f;
  for (const int token : {1, 2, 3, 5}) {
    changed[token] = changed[token] > 0 ? changed[token] / 1.5f : changed[token] * 1.5f;
  }
  changed[2] -= 0.5f - 0.25f;
  changed[5] -= 0.5f - 0.5f;
  const std::vector<int> counts = Counts(logits, params, 8, {prompt, output});
  EXPECT_LT(Excess(counts, Exact(changed, {.top_p = 0.9f})), 4.0);
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

TEST(SelectTest, FindsTheShortestPrefixOfAnyWeight) {
  std::mt19937_64 rng(7);
  std::vector<Entry> sorted;
  std::vector<float> logits;
  std::vector<int32_t> tokens;
  std::vector<uint64_t> weights;
  for (const int32_t value : RandomInts(rng, 300, 0, 40)) {
    logits.push_back(static_cast<float>(value));
    tokens.push_back(static_cast<int32_t>(tokens.size()));
    weights.push_back(static_cast<uint64_t>(value % 5));
    sorted.push_back({KeyOf(logits.back(), tokens.back()), weights.back()});
  }
  const Gathered gathered = {logits.data(), tokens.data(), weights.data(), 300, 0.0f, 40.0f};
  std::vector<Entry> scratch(300);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.key < b.key; });
  uint64_t sum = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    EXPECT_EQ(SelectByCount(gathered, static_cast<int64_t>(i) + 1, scratch.data()).key,
              sorted[i].key);
    for (uint64_t wanted = sum + 1; wanted <= sum + sorted[i].weight; ++wanted) {
      const Border border = SelectByWeight(gathered, wanted, scratch.data());
      ASSERT_EQ(border.key, sorted[i].key);
      ASSERT_EQ(border.weight, sum + sorted[i].weight);
    }
    sum += sorted[i].weight;
  }
}

}  // namespace
}  // namespace quire::ops::topk_topp_sampling
