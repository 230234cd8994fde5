// The definition of a row's distribution, followed step by step on the whole sorted vocabulary:
// what the reference draws from, and what tests compare with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/logit_adjustment.h"

namespace quire::ops::topk_topp_sampling {

struct WeightedToken {
  int32_t token;
  float logit;      // after bias and penalties
  uint64_t weight;  // 0 until it is known
};

// The logits of a row with its bias and penalties, by the definition.
std::vector<float> AdjustedLogits(std::span<const float> logits, const SamplingParams& params,
                                  const RowHistory& history);

// All tokens in descending order, ties by ascending id, without weights.
std::vector<WeightedToken> InOrder(std::span<const float> logits);

// What is left of `tokens` (a whole vocabulary InOrder()) after temperature, top-k, top-p and
// min-p, with weights, in the same order. With temperature 0: the arg max alone. Probabilities are
// the weights over their sum.
std::vector<WeightedToken> Kept(std::vector<WeightedToken> tokens, const SamplingParams& params);

// The draw from Kept() tokens.
int32_t DrawFrom(std::vector<WeightedToken> kept, const SamplingParams& params, int64_t vocabulary,
                 float uniform);

// Fills in the log-probabilities that `params` ask for, given out.token.
void FillLogprobsByDefinition(std::span<const float> logits, const SamplingParams& params,
                              SampledToken& out);

// Draws one row with its log-probabilities. `out` is only set if there is no fault.
RowFault SampleByDefinition(std::span<const float> logits, const SamplingParams& params,
                            const RowHistory& history, int64_t position, SampledToken& out);

}  // namespace quire::ops::topk_topp_sampling
