#include "ops/topk_topp_sampling/definition.h"

#include <limits>
#include <map>
#include <set>

#include "base/check.h"

namespace quire::ops::topk_topp_sampling {

namespace {

uint64_t Weigh(std::vector<WeightedToken>& tokens, float max, float temperature) {
  uint64_t total = 0;
  for (WeightedToken& token : tokens) {
    token.weight = WeightOf(token.logit, max, WeightScale(temperature));
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

}  // namespace

std::vector<float> AdjustedLogits(std::span<const float> logits, const SamplingParams& params,
                                  const RowHistory& history) {
  std::vector<float> adjusted(logits.begin(), logits.end());
  for (const TokenBias& entry : params.logit_bias) {
    adjusted[entry.token] += entry.bias;
  }
  if (!params.UsesHistory()) {
    return adjusted;
  }
  std::set<int32_t> seen(history.prompt.begin(), history.prompt.end());
  std::map<int32_t, int32_t> counts;
  for (const std::span<const int32_t> tokens : {history.output, history.drafts}) {
    seen.insert(tokens.begin(), tokens.end());
    for (const int32_t token : tokens) {
      ++counts[token];
    }
  }
  for (const int32_t token : seen) {
    const float logit = adjusted[token];
    adjusted[token] =
        logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  }
  for (const auto& [token, count] : counts) {
    adjusted[token] -=
        params.presence_penalty + params.frequency_penalty * static_cast<float>(count);
  }
  return adjusted;
}

std::vector<WeightedToken> InOrder(std::span<const float> logits) {
  std::vector<WeightedToken> tokens;
  for (size_t i = 0; i < logits.size(); ++i) {
    tokens.push_back({static_cast<int32_t>(i), logits[i], 0});
  }
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  });
  return tokens;
}

std::vector<WeightedToken> Kept(std::vector<WeightedToken> tokens, const SamplingParams& params) {
  if (params.temperature == 0.0f) {
    tokens.resize(1);
    tokens.front().weight = 1;
    return tokens;
  }
  uint64_t total = Weigh(tokens, tokens.front().logit, params.temperature);
  size_t top_k = tokens.size();
  if (params.top_k > 0) {
    top_k = std::min(top_k, static_cast<size_t>(params.top_k));
  }
  if (params.order == FilterOrder::kTopKFirst) {
    tokens.resize(top_k);
    total = 0;
    for (const WeightedToken& token : tokens) {
      total += token.weight;
    }
  }
  size_t top_p = tokens.size();
  if (params.top_p < 1.0f) {
    top_p = PrefixOfWeight(tokens, TopPWeight(params.top_p, total));
  }
  tokens.resize(std::min(top_k, top_p));
  std::erase_if(tokens, [&](const auto& token) { return token.weight < MinPWeight(params.min_p); });
  return tokens;
}

int32_t DrawFrom(std::vector<WeightedToken> kept, const SamplingParams& params, int64_t vocabulary,
                 float uniform) {
  if (!Filters(params, vocabulary)) {
    std::sort(kept.begin(), kept.end(),
              [](const auto& a, const auto& b) { return a.token < b.token; });
  }
  uint64_t total = 0;
  for (const WeightedToken& token : kept) {
    total += token.weight;
  }
  return kept[PrefixOfWeight(kept, DrawWeight(uniform, total)) - 1].token;
}

void FillLogprobsByDefinition(std::span<const float> logits, const SamplingParams& params,
                              SampledToken& out) {
  out.logprob = 0.0f;
  out.top.clear();
  if (params.top_logprobs < 0) {
    return;
  }
  std::vector<WeightedToken> tokens = InOrder(logits);
  const float max = tokens.front().logit;
  const uint64_t total = Weigh(tokens, max, 1.0f);
  out.logprob = LogprobOf(logits[out.token], max, total);
  for (int32_t i = 0; i < params.top_logprobs; ++i) {
    out.top.push_back({tokens[i].token, LogprobOf(tokens[i].logit, max, total)});
  }
}

RowFault SampleByDefinition(std::span<const float> logits, const SamplingParams& params,
                            const RowHistory& history, int64_t position, SampledToken& out) {
  const std::vector<float> adjusted = AdjustedLogits(logits, params, history);
  float max = -std::numeric_limits<float>::infinity();
  bool has_nan = false;
  for (const float logit : adjusted) {
    max = std::max(max, logit);
    has_nan |= std::isnan(logit);
  }
  if (const RowFault fault = FaultOf(has_nan, max); fault != RowFault::kNone) {
    return fault;
  }
  out.token = DrawFrom(Kept(InOrder(adjusted), params), params, static_cast<int64_t>(logits.size()),
                       Uniform(params.seed, position));
  FillLogprobsByDefinition(logits, params, out);
  return RowFault::kNone;
}

}  // namespace quire::ops::topk_topp_sampling
