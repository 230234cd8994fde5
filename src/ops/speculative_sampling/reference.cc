// Follows the rule row by row, over the whole vocabulary.
#include <limits>
#include <numeric>
#include <vector>

#include "ops/speculative_sampling/rejection.h"
#include "ops/speculative_sampling/speculative_sampling.h"
#include "ops/topk_topp_sampling/definition.h"

namespace quire::ops::speculative_sampling {

namespace {

using topk_topp_sampling::RowFault;

// The first token at which the sum of the weights reaches the draw.
int32_t DrawFrom(const std::vector<uint64_t>& weights, float uniform) {
  const uint64_t total = std::accumulate(weights.begin(), weights.end(), uint64_t{0});
  const uint64_t wanted = topk_topp_sampling::DrawWeight(uniform, total);
  uint64_t sum = 0;
  size_t token = 0;
  while ((sum += weights[token]) < wanted) {
    ++token;
  }
  return static_cast<int32_t>(token);
}

// The token of a row with draft probabilities: the draft if it stands, else its replacement.
// Returns false if a probability is impossible.
bool AcceptOrReplace(std::span<const float> logits, std::span<const float> draft_probs,
                     const SamplingParams& params, const topk_topp_sampling::RowHistory& history,
                     int64_t position, int32_t draft, int32_t& token) {
  std::vector<uint64_t> target(logits.size());
  for (const topk_topp_sampling::WeightedToken& kept : topk_topp_sampling::Kept(
           topk_topp_sampling::InOrder(topk_topp_sampling::AdjustedLogits(logits, params, history)),
           params)) {
    target[kept.token] = kept.weight;
  }
  const uint64_t total = std::accumulate(target.begin(), target.end(), uint64_t{0});
  const float q = draft_probs[draft];
  if (!IsProbability(q) || q == 0.0f) {
    return false;
  }
  if (Accepts(Probability(target[draft], total), q,
              topk_topp_sampling::Uniform(params.seed, position, kAcceptStream))) {
    token = draft;
    return true;
  }
  std::vector<uint64_t> residual(logits.size());
  uint64_t rest = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (target[i] > 0) {
      if (!IsProbability(draft_probs[i])) {
        return false;
      }
      residual[i] = ResidualWeight(Probability(target[i], total), draft_probs[i]);
      rest += residual[i];
    }
  }
  // Nothing is left where p and q are equal but for rounding.
  token = DrawFrom(rest > 0 ? residual : target,
                   topk_topp_sampling::Uniform(params.seed, position, kReplaceStream));
  return true;
}

SequenceFault RunSequence(const Args& args, const Sequence& sequence, int32_t& accepted) {
  accepted = 0;
  const auto drafts = static_cast<int64_t>(sequence.drafts.size());
  for (int64_t i = 0; i <= drafts; ++i) {
    const int64_t row = sequence.first_row + i;
    SampledToken& out = args.out[row];
    const RowFault fault =
        topk_topp_sampling::SampleByDefinition(RowOf(args.logits, row), sequence.params,
                                               sequence.HistoryAt(i), sequence.position + i, out);
    if (fault != RowFault::kNone) {
      return {.logits = fault, .row = row};
    }
    if (i < drafts && sequence.has_probs) {
      if (!AcceptOrReplace(RowOf(args.logits, row),
                           RowOf(args.draft_probs, sequence.first_draft + i), sequence.params,
                           sequence.HistoryAt(i), sequence.position + i, sequence.drafts[i],
                           out.token)) {
        return {.draft_prob = true, .row = row};
      }
      topk_topp_sampling::FillLogprobsByDefinition(RowOf(args.logits, row), sequence.params, out);
    }
    if (i == drafts || out.token != sequence.drafts[i]) {
      break;
    }
    ++accepted;
  }
  return {};
}

Status RunReference(const OpContext&, const Args& args) {
  std::vector<SequenceFault> faults;
  for (size_t i = 0; i < args.params.size(); ++i) {
    faults.push_back(RunSequence(args, Sequence(args, static_cast<int64_t>(i)), args.accepted[i]));
  }
  return FirstFault(faults);
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference, "f32"}};
}

}  // namespace quire::ops::speculative_sampling
