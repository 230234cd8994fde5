// The arithmetic of rejection sampling that every implementation shares, and its errors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/speculative_sampling/speculative_sampling.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/logit_adjustment.h"

namespace quire::ops::speculative_sampling {

inline constexpr const char* kName = "speculative_sampling";
inline constexpr uint32_t kAcceptStream = 1;
inline constexpr uint32_t kReplaceStream = 2;

// Why a sequence could not be drawn.
struct SequenceFault {
  topk_topp_sampling::RowFault logits = topk_topp_sampling::RowFault::kNone;
  bool draft_prob = false;  // the probability of a draft or of a token beside it is impossible
  int64_t row = 0;          // of logits

  bool ok() const { return logits == topk_topp_sampling::RowFault::kNone && !draft_prob; }
};

// The error of the first sequence that has one, or OK.
Status FirstFault(std::span<const SequenceFault> faults);

// One sequence of Args.
struct Sequence {
  Sequence(const Args& args, int64_t index)
      : first_row(args.draft_start[index] + index),
        first_draft(args.draft_start[index]),
        drafts(args.draft_tokens.subspan(first_draft,
                                         args.draft_start[index + 1] - args.draft_start[index])),
        params(args.params[index]),
        position(args.positions[index]),
        history(args.history.empty() ? TokenHistory{} : args.history[index]),
        has_probs(args.draft_probs.defined() && params.temperature > 0) {}

  topk_topp_sampling::RowHistory HistoryAt(int64_t row) const {
    return {history.prompt, history.output, drafts.first(row)};
  }

  int64_t first_row;    // of logits and out
  int64_t first_draft;  // of draft_probs
  std::span<const int32_t> drafts;
  const SamplingParams& params;
  int64_t position;
  TokenHistory history;
  bool has_probs;  // drafts are accepted by their probabilities
};

inline std::span<const float> RowOf(const TensorView& rows, int64_t row) {
  return {rows.as<float>() + row * rows.stride(0), static_cast<size_t>(rows.dim(1))};
}

inline double Probability(uint64_t weight, uint64_t total) {
  return static_cast<double>(weight) / static_cast<double>(total);
}

// Whether a draft of probability `q` stands where the target gives it `p`.
inline bool Accepts(double p, float q, float uniform) {
  return static_cast<double>(uniform) * q < p;
}

// max(p - q, 0) as a fixed-point number, so that sums are exact. A sum of them stays below 2^53.
inline uint64_t ResidualWeight(double p, float q) {
  return p > q ? static_cast<uint64_t>((p - q) * 0x1p52) : 0;
}

inline bool IsProbability(float q) {
  return q >= 0.0f && q <= 1.0f;  // false for NaN
}

}  // namespace quire::ops::speculative_sampling
