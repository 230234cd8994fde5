// Sorts the whole vocabulary and follows the definition step by step.
#include <limits>
#include <vector>

#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

namespace {

struct WeightedToken {
  int32_t token;
  float logit;
  uint64_t weight;
};

// All tokens in order, without weights.
std::vector<WeightedToken> Sorted(std::span<const float> logits) {
  std::vector<WeightedToken> tokens;
  for (size_t i = 0; i < logits.size(); ++i) {
    tokens.push_back({static_cast<int32_t>(i), logits[i], 0});
  }
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  });
  return tokens;
}

uint64_t Weigh(std::vector<WeightedToken>& tokens, float max, float temperature) {
  uint64_t total = 0;
  for (WeightedToken& token : tokens) {
    token.weight = WeightOf(token.logit, max, temperature);
    total += token.weight;
  }
  return total;
}

// How many of the first tokens it takes until their weights sum to `wanted`.
size_t PrefixOfWeight(const std::vector<WeightedToken>& tokens, uint64_t wanted) {
  uint64_t sum = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    sum += tokens[i].weight;
    if (sum >= wanted) {
      return i + 1;
    }
  }
  QUIRE_CHECK(false) << "weights sum to " << sum << ", " << wanted << " wanted";
  return tokens.size();
}

int32_t Draw(std::vector<WeightedToken> tokens, const SamplingParams& params, int64_t position) {
  if (params.temperature == 0.0f) {
    return tokens.front().token;
  }
  const float max = tokens.front().logit;
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < tokens.size()) {
    tokens.resize(params.top_k);
  }
  uint64_t total = Weigh(tokens, max, params.temperature);
  if (params.top_p < 1.0f) {
    tokens.resize(PrefixOfWeight(tokens, TopPWeight(params.top_p, total)));
  }
  std::erase_if(tokens, [&](const auto& token) { return token.weight < MinPWeight(params.min_p); });
  total = 0;
  for (const WeightedToken& token : tokens) {
    total += token.weight;
  }
  const uint64_t wanted = DrawWeight(Uniform(params.seed, position), total);
  return tokens[PrefixOfWeight(tokens, wanted) - 1].token;
}

void FillLogprobs(std::span<const float> logits, std::vector<WeightedToken> tokens, int32_t top,
                  SampledToken& out) {
  const float max = tokens.front().logit;
  const uint64_t total = Weigh(tokens, max, 1.0f);
  out.logprob = LogprobOf(logits[out.token], max, total);
  for (int32_t i = 0; i < top; ++i) {
    out.top.push_back({tokens[i].token, LogprobOf(tokens[i].logit, max, total)});
  }
}

RowFault SampleRow(std::span<const float> logits, const SamplingParams& params, int64_t position,
                   SampledToken& out) {
  float max = -std::numeric_limits<float>::infinity();
  bool has_nan = false;
  for (const float logit : logits) {
    max = std::max(max, logit);
    has_nan |= std::isnan(logit);
  }
  if (const RowFault fault = FaultOf(has_nan, max); fault != RowFault::kNone) {
    return fault;
  }
  const std::vector<WeightedToken> tokens = Sorted(logits);
  out.token = Draw(tokens, params, position);
  out.logprob = 0.0f;
  out.top.clear();
  if (params.top_logprobs >= 0) {
    FillLogprobs(logits, tokens, params.top_logprobs, out);
  }
  return RowFault::kNone;
}

Status RunReference(const OpContext&, const Args& args) {
  Status first_error;
  for (int64_t row = 0; row < args.logits.dim(0); ++row) {
    const std::span<const float> logits(args.logits.as<float>() + row * args.logits.stride(0),
                                        static_cast<size_t>(args.logits.dim(1)));
    const RowFault fault = SampleRow(logits, args.params[row], args.positions[row], args.out[row]);
    if (fault != RowFault::kNone && first_error.ok()) {
      first_error = FaultStatus(fault, row);
    }
  }
  return first_error;
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::topk_topp_sampling
