// The emitted tokens follow the target distribution: chi-square tests with fixed seeds.
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "ops/conformance.h"
#include "ops/speculative_sampling/speculative_sampling.h"
#include "ops/topk_topp_sampling/sampling_statistics.h"

namespace quire::ops::speculative_sampling {
namespace {

using topk_topp_sampling::Exact;
using topk_topp_sampling::Excess;

constexpr int kSequences = 20000;
constexpr int kDrafts = 2;
constexpr int kVocabulary = 60;

// kSequences sequences with the same target logits and draft distributions, two drafts each, drawn
// from the draft distributions.
struct Trial {
  explicit Trial(uint64_t seed, const SamplingParams& target) : params(target) {
    std::mt19937_64 rng(seed);
    for (int row = 0; row <= kDrafts; ++row) {
      logits.push_back(RandomFloats(rng, kVocabulary, 0.0f, 1.5f));
      std::vector<float> other = RandomFloats(rng, kVocabulary, 0.0f, 0.7f);
      for (int i = 0; i < kVocabulary; ++i) {
        other[i] += 0.7f * logits[row][i];
      }
      const std::vector<double> exact = Exact(other, {.top_k = 50});
      q.emplace_back(exact.begin(), exact.end());
    }
  }

  // How often each token was emitted at each of the three places, given the drafts before stood.
  std::vector<std::vector<int>> Counts(bool with_probs) {
    std::mt19937_64 rng(3);
    std::vector<std::vector<int>> counts(kDrafts + 1, std::vector<int>(kVocabulary));
    std::vector<float> all_logits;
    std::vector<float> all_probs;
    for (int row = 0; row <= kDrafts; ++row) {
      all_logits.insert(all_logits.end(), logits[row].begin(), logits[row].end());
      all_probs.insert(all_probs.end(), q[row].begin(), q[row].end());
    }
    CpuFixture cpu(1);
    const std::vector<int32_t> starts = {0, kDrafts};
    for (int64_t sequence = 0; sequence < kSequences; ++sequence) {
      std::vector<int32_t> drafts;
      for (int i = 0; i < kDrafts; ++i) {
        drafts.push_back(std::discrete_distribution<int32_t>(q[i].begin(), q[i].end())(rng));
      }
      params.seed = static_cast<uint64_t>(sequence);
      const int64_t position = 11;
      int32_t accepted = 0;
      std::vector<SampledToken> out(kDrafts + 1);
      const Args args = {.logits = {all_logits.data(), DType::kF32, {kDrafts + 1, kVocabulary}},
                         .draft_start = starts,
                         .draft_tokens = drafts,
                         .draft_probs = with_probs ? TensorView(all_probs.data(), DType::kF32,
                                                                {kDrafts, kVocabulary})
                                                   : TensorView(),
                         .params = {&params, 1},
                         .positions = {&position, 1},
                         .accepted = {&accepted, 1},
                         .out = out};
      const Status status = Run(cpu.Context(), args);
      EXPECT_TRUE(status.ok()) << status.message();
      for (int place = 0; place <= accepted; ++place) {
        ++counts[place][out[place].token];
        EXPECT_EQ(place < accepted, place < kDrafts && out[place].token == drafts[place]);
      }
    }
    return counts;
  }

  SamplingParams params;
  std::vector<std::vector<float>> logits;  // of each row
  std::vector<std::vector<float>> q;
};

const SamplingParams kTargets[] = {
    {}, {.temperature = 0.7f}, {.top_k = 12}, {.temperature = 1.3f, .top_p = 0.8f, .min_p = 0.02f}};

TEST(SpeculativeDistributionTest, IsTheTargetWithDraftProbs) {
  for (const SamplingParams& params : kTargets) {
    Trial trial(5, params);
    const std::vector<std::vector<int>> counts = trial.Counts(true);
    for (int place = 0; place <= kDrafts; ++place) {
      EXPECT_LT(Excess(counts[place], Exact(trial.logits[place], params)), 4.0)
          << "place " << place << " temperature " << params.temperature;
    }
  }
}

TEST(SpeculativeDistributionTest, IsTheTargetWithOneHotDrafts) {
  for (const SamplingParams& params : kTargets) {
    Trial trial(6, params);
    const std::vector<std::vector<int>> counts = trial.Counts(false);
    EXPECT_LT(Excess(counts[0], Exact(trial.logits[0], params)), 4.0) << params.temperature;
  }
}

// As many drafts stand as the theory says: the sum of min(p, q).
TEST(SpeculativeDistributionTest, AcceptsAsOftenAsPossible) {
  Trial trial(5, {});
  const std::vector<std::vector<int>> counts = trial.Counts(true);
  const std::vector<double> p = Exact(trial.logits[0], {});
  double expected = 0;
  for (int i = 0; i < kVocabulary; ++i) {
    expected += std::min<double>(p[i], trial.q[0][i]);
  }
  const int accepted = std::accumulate(counts[1].begin(), counts[1].end(), 0);
  const double deviation = std::sqrt(expected * (1 - expected) * kSequences);
  EXPECT_NEAR(accepted, expected * kSequences, 4 * deviation);
  EXPECT_GT(expected, 0.4);
  EXPECT_LT(expected, 0.95);
}

// The tests above have the power to see a wrong rule: replacements from the target itself, or
// drafts that always stand.
TEST(SpeculativeDistributionTest, AWrongRuleWouldBeNoticed) {
  Trial trial(5, {});
  const std::vector<double> p = Exact(trial.logits[0], {});
  std::mt19937_64 rng(9);
  std::discrete_distribution<int> from_p(p.begin(), p.end());
  std::discrete_distribution<int> from_q(trial.q[0].begin(), trial.q[0].end());
  std::vector<int> unreduced(kVocabulary);
  std::vector<int> always(kVocabulary);
  for (int i = 0; i < kSequences; ++i) {
    const int draft = from_q(rng);
    const bool stands =
        std::uniform_real_distribution<double>()(rng) * trial.q[0][draft] < p[draft];
    ++unreduced[stands ? draft : from_p(rng)];
    ++always[draft];
  }
  EXPECT_GT(Excess(unreduced, p), 10.0);
  EXPECT_GT(Excess(always, p), 10.0);
}

}  // namespace
}  // namespace quire::ops::speculative_sampling
