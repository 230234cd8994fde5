// The inputs of a row: their checks, and bias and penalties, which change the logits of single
// tokens before anything else.
#pragma once

#include <cstdint>
#include <span>

#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

// A row's tokens before the one to draw. The output is in two parts, so that speculative rows can
// share the first: `output`, then `drafts`.
struct RowHistory {
  std::span<const int32_t> prompt;
  std::span<const int32_t> output;
  std::span<const int32_t> drafts;
};

// The history of a row of Args; empty if the arguments have none.
inline RowHistory HistoryOf(const Args& args, int64_t row) {
  if (args.history.empty()) {
    return {};
  }
  return {args.history[row].prompt, args.history[row].output, {}};
}

// The checks of a tensor of logits and of one row's parameters, for `op`.
Status ValidateLogits(const char* op, const TensorView& logits, Place place);
Status ValidateRow(const char* op, int64_t row, const SamplingParams& params, int64_t vocabulary);

// An OK status, or the error that names the row and the history or bias that does not fit it.
// `drawn_before` is how many tokens Args::drawn_before has.
Status ValidateAdjustment(const char* op, int64_t row, const SamplingParams& params,
                          const RowHistory& history, int64_t vocabulary, int64_t drawn_before = 0);

// Sets `adjusted` [V] to `logits` [V] with the bias and penalties of `params`. `counts` [V] is
// scratch; only its entries of tokens of the output are written, and none needs a value before.
// O(history) after the copy. REQUIRES: ValidateAdjustment().
void AdjustLogits(std::span<const float> logits, const SamplingParams& params,
                  const RowHistory& history, float* adjusted, int32_t* counts);

}  // namespace quire::ops::topk_topp_sampling
