// Step: what the scheduler asks the engine to run next, and TokenEvent: what came of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv_cache/page_copy.h"
#include "ops/batch.h"
#include "scheduler/request.h"

namespace quire {

// One forward pass. The order of sequences is that of the batch: decode rows, then prefill chunks.
// A sequence whose rows reach the end of its tokens samples from its last row, and if drafts follow
// from the row of each of these as well. These rows, in order, are the R entries of
// batch.logit_rows, sampling, sample_positions and history: a draft's row draws as if the draft and
// those before it had been drawn.
struct Step {
  struct Sequence {
    uint64_t id = 0;  // of the request
    int32_t first_row = 0;
    int32_t num_rows = 0;
    int32_t num_samples = 0;  // tokens drawn behind its last rows; 1 + its drafts
  };

  // A decode row whose token the step before it draws.
  struct UnknownToken {
    int32_t sequence = 0;  // whose only row it is
    int32_t sample = 0;    // of the step before
  };

  uint64_t serial = 0;           // ascending, 1 for a scheduler's first step
  std::vector<PageCopy> copies;  // to be done before its batch runs
  Batch batch;
  std::vector<Sequence> sequences;        // [B]
  std::vector<UnknownToken> unknown;      // of a step formed ahead; DrawnToken() in batch, history
  std::vector<SamplingParams> sampling;   // [R]
  std::vector<int64_t> sample_positions;  // [R] tokens drawn before: the draw's counter
  // [R] the tokens before each draw, for penalties; valid until the step's Commit.
  std::vector<TokenHistory> history;
};

// Something that a client should hear of a request: a token, its end, or both.
struct TokenEvent {
  uint64_t id = 0;
  int32_t sample = 0;  // if there is a token: which of the step's R it is
  std::optional<SampledToken> token;
  std::optional<FinishReason> finish_reason;  // set on the request's last event
  int32_t num_prompt = 0;                     // tokens, for the usage report
  int32_t cached_prompt_tokens = 0;           // of those, found in the prefix cache
  int32_t num_generated = 0;                  // this token included
};

// Of the tokens drawn behind `sequence`'s rows, the first of which is number `first` of `sampled`,
// those that count: up to and with the first that is not the draft behind it.
int32_t AcceptedSamples(const Step& step, const Step::Sequence& sequence, size_t first,
                        std::span<const SampledToken> sampled);

}  // namespace quire
