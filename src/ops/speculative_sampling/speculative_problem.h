// A problem of speculative_sampling with its data, for tests and benchmarks. No product code
// includes this.
#pragma once

#include <numeric>
#include <vector>

#include "ops/conformance.h"
#include "ops/speculative_sampling/speculative_sampling.h"
#include "ops/speculative_sampling/speculative_sampling_cases.h"
#include "ops/topk_topp_sampling/sampling_problem.h"

namespace quire::ops::speculative_sampling {

// The case itself, or the random one that it stands for.
inline Case Resolve(Case c, std::mt19937_64& rng) {
  if (c.random) {
    c.sequences = static_cast<int64_t>(1 + rng() % 6);
    c.drafts = -static_cast<int64_t>(rng() % 6);
    c.vocabulary = static_cast<int64_t>(1 + rng() % 1000);
    c.deviation = static_cast<float>(rng() % 5);
    c.probs = rng() % 2 == 0;
    c.history = static_cast<int64_t>(rng() % 20);
  }
  return c;
}

struct Problem {
  // `gap` elements lie between the rows of logits and of draft_probs.
  Problem(const Case& wanted, std::mt19937_64& rng, int64_t gap)
      : c(Resolve(wanted, rng)),
        starts(Starts(c, rng)),
        logits({starts.back() + c.sequences, c.vocabulary}, c.vocabulary + gap),
        probs({starts.back(), c.vocabulary}, c.vocabulary + gap),
        drafts(RandomInts(rng, starts.back(), 0, static_cast<int32_t>(c.vocabulary - 1))),
        history_tokens(RandomInts(rng, 2 * c.history * c.sequences, 0,
                                  static_cast<int32_t>(c.vocabulary - 1))),
        accepted(static_cast<size_t>(c.sequences), -1),
        out(static_cast<size_t>(starts.back() + c.sequences)) {
    logits.Assign(RandomFloats(rng, logits.rows() * c.vocabulary, 2.0f, c.deviation));
    FillProbs(rng);
    for (int64_t i = 0; i < c.sequences; ++i) {
      params.push_back(c.random ? topk_topp_sampling::RandomParams(rng, c.vocabulary) : c.params);
      params.back().seed = rng();
      positions.push_back(static_cast<int64_t>(rng() >> 20));
      const std::span<const int32_t> own =
          std::span<const int32_t>(history_tokens).subspan(2 * c.history * i, 2 * c.history);
      history.push_back({own.first(c.history), own.last(c.history)});
    }
    args = {.logits = logits.View(DType::kF32),
            .draft_start = starts,
            .draft_tokens = drafts,
            .draft_probs = c.probs ? probs.View(DType::kF32) : TensorView(),
            .params = params,
            .positions = positions,
            .history = history,
            .accepted = accepted,
            .out = out};
    MakeLikely(rng);
  }

  static std::vector<int32_t> Starts(const Case& c, std::mt19937_64& rng) {
    std::vector<int32_t> starts = {0};
    for (int64_t i = 0; i < c.sequences; ++i) {
      const auto most = static_cast<uint64_t>(std::abs(c.drafts));
      const uint64_t count = c.drafts < 0 ? rng() % (most + 1) : most;
      starts.push_back(starts.back() + static_cast<int32_t>(count));
    }
    return starts;
  }

  // A distribution that is something like the softmax of the logits.
  void FillProbs(std::mt19937_64& rng) {
    for (int64_t row = 0; row < probs.rows(); ++row) {
      std::vector<float> weights = RandomFloats(rng, c.vocabulary, 0.0f, 0.5f);
      double total = 0;
      for (int64_t i = 0; i < c.vocabulary; ++i) {
        weights[i] = std::exp(weights[i] + 0.9f * logits.Row(row)[i]);
        total += weights[i];
      }
      for (int64_t i = 0; i < c.vocabulary; ++i) {
        probs.Row(row)[i] = static_cast<float>(weights[i] / total);
      }
    }
  }

  // Sets a share of the drafts to what sampling without drafts would draw there.
  void MakeLikely(std::mt19937_64& rng) {
    CpuFixture cpu(1);
    for (int64_t i = 0; i < c.sequences; ++i) {
      for (int32_t at = starts[i]; at < starts[i + 1]; ++at) {
        if (std::uniform_real_distribution<double>()(rng) < c.likely) {
          drafts[at] = PlainToken(cpu.Context(), i, at - starts[i]).token;
        }
      }
    }
  }

  // What topk_topp_sampling draws for sequence `i` after its first `count` drafts.
  SampledToken PlainToken(const OpContext& context, int64_t i, int64_t count) {
    std::vector<int32_t> output(history[i].output.begin(), history[i].output.end());
    output.insert(output.end(), drafts.begin() + starts[i], drafts.begin() + starts[i] + count);
    const TokenHistory before = {history[i].prompt, output};
    const int64_t position = positions[i] + count;
    const int64_t row = starts[i] + i + count;
    SampledToken token;
    const Status status = RunOnDevice(
        context, topk_topp_sampling::Args{.logits = logits.View(DType::kF32).Rows(row, row + 1),
                                          .params = {&params[i], 1},
                                          .positions = {&position, 1},
                                          .history = {&before, 1},
                                          .out = {&token, 1}});
    QUIRE_CHECK(status.ok()) << status.message();
    return token;
  }

  Case c;
  std::vector<int32_t> starts;
  GuardedArray<float> logits;
  GuardedArray<float> probs;
  std::vector<int32_t> drafts;
  std::vector<int32_t> history_tokens;
  std::vector<SamplingParams> params;
  std::vector<int64_t> positions;
  std::vector<TokenHistory> history;
  std::vector<int32_t> accepted;
  std::vector<SampledToken> out;
  Args args;
};

}  // namespace quire::ops::speculative_sampling
