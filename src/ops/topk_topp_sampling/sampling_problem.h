// A problem of topk_topp_sampling with its data, for tests and benchmarks. No product code includes
// this.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/conformance.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "ops/topk_topp_sampling/topk_topp_sampling_cases.h"

namespace quire {

// For exact comparisons.
inline bool operator==(const TokenLogprob& a, const TokenLogprob& b) {
  return a.token == b.token && a.logprob == b.logprob;
}
inline bool operator==(const SampledToken& a, const SampledToken& b) {
  return a.token == b.token && a.logprob == b.logprob && a.top == b.top;
}

}  // namespace quire

namespace quire::ops::topk_topp_sampling {

// Some value of every parameter, or off, for a vocabulary.
inline SamplingParams RandomParams(std::mt19937_64& rng, int64_t vocabulary) {
  const auto unit = [&] { return std::uniform_real_distribution<float>(0.0f, 1.0f)(rng); };
  const auto one_of = [&](int n) { return rng() % static_cast<uint64_t>(n) == 0; };
  SamplingParams params;
  params.temperature = one_of(6) ? 0.0f : 0.2f + 2.0f * unit();
  params.top_k = one_of(2) ? 0 : static_cast<int32_t>(rng() % static_cast<uint64_t>(vocabulary));
  params.top_p = one_of(2) ? 1.0f : std::max(unit(), 1e-3f);
  params.min_p = one_of(2) ? 0.0f : 0.3f * unit() * unit();
  params.order = one_of(2) ? FilterOrder::kTopKFirst : FilterOrder::kJoint;
  params.top_logprobs =
      static_cast<int32_t>(rng() % static_cast<uint64_t>(std::min<int64_t>(vocabulary, 8) + 2)) - 1;
  params.repetition_penalty = one_of(2) ? 1.0f : 0.5f + unit();
  params.presence_penalty = one_of(2) ? 0.0f : 4.0f * unit() - 2.0f;
  params.frequency_penalty = one_of(2) ? 0.0f : 4.0f * unit() - 2.0f;
  for (uint64_t i = 0; i < rng() % 4; ++i) {
    params.logit_bias.push_back({static_cast<int32_t>(rng() % static_cast<uint64_t>(vocabulary)),
                                 200.0f * unit() - 100.0f});
  }
  return params;
}

// The case itself, or the random one that it stands for.
inline Case Resolve(Case c, std::mt19937_64& rng) {
  if (c.random) {
    c.rows = static_cast<int64_t>(1 + rng() % 9);
    c.vocabulary = static_cast<int64_t>(1 + rng() % (rng() % 2 == 0 ? 300 : 12000));
    c.deviation = static_cast<float>(rng() % 9) * 0.75f;
    c.whole_numbers = rng() % 4 == 0;
    c.history = static_cast<int64_t>(rng() % 100);
    c.masked = rng() % 4 == 0 ? 0.5 : 0.0;
  }
  return c;
}

struct Problem {
  // `gap` elements lie between the rows of logits.
  Problem(const Case& wanted, std::mt19937_64& rng, int64_t gap)
      : c(Resolve(wanted, rng)),
        logits({c.rows, c.vocabulary}, c.vocabulary + gap),
        params(static_cast<size_t>(c.rows), c.params),
        tokens(RandomInts(rng, 2 * c.history * c.rows, 0, static_cast<int32_t>(c.vocabulary - 1))),
        out(static_cast<size_t>(c.rows)) {
    FillLogits(rng);
    for (int64_t row = 0; row < c.rows; ++row) {
      SamplingParams& p = params[row];
      if (c.random) {
        p = RandomParams(rng, c.vocabulary);
      }
      p.seed = rng();
      positions.push_back(static_cast<int64_t>(rng() >> 20));
      const std::span<const int32_t> own =
          std::span<const int32_t>(tokens).subspan(2 * c.history * row, 2 * c.history);
      history.push_back({own.first(c.history), own.last(c.history)});
    }
    args = {.logits = logits.View(DType::kF32),
            .params = params,
            .positions = positions,
            .history = history,
            .out = out};
  }

  void FillLogits(std::mt19937_64& rng) {
    std::vector<float> values(static_cast<size_t>(c.rows * c.vocabulary), 0.25f);
    if (c.deviation > 0) {
      values =
          RandomFloats(rng, c.rows * c.vocabulary, c.deviation < 1e-3f ? 0.0f : 5.0f, c.deviation);
    }
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = c.whole_numbers ? std::round(values[i]) : values[i];
      const bool last = (i + 1) % static_cast<size_t>(c.vocabulary) == 0;  // one stays
      if (c.masked > 0 && !last && std::uniform_real_distribution<double>()(rng) < c.masked) {
        values[i] = -std::numeric_limits<float>::infinity();
      }
    }
    logits.Assign(values);
  }

  Case c;
  GuardedArray<float> logits;
  std::vector<SamplingParams> params;
  std::vector<int64_t> positions;
  std::vector<int32_t> tokens;
  std::vector<TokenHistory> history;
  std::vector<SampledToken> out;
  Args args;
};

}  // namespace quire::ops::topk_topp_sampling
