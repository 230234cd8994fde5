// Step: what the scheduler asks the engine to run next, and TokenEvent: what came of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/batch.h"
#include "scheduler/request.h"

namespace quire {

// One forward pass. The order of sequences is that of the batch: decode rows, then prefill chunks.
// A sequence samples if its rows reach the end of its tokens; the R sampling sequences, in order,
// are the R entries of batch.logit_rows, sampling and sample_positions.
struct Step {
  struct Sequence {
    uint64_t id = 0;  // of the request
    int32_t first_row = 0;
    int32_t num_rows = 0;
    bool samples = false;  // its last row's logits are wanted and one token is drawn
  };

  uint64_t serial = 0;  // 1 for a scheduler's first step
  Batch batch;
  std::vector<Sequence> sequences;        // [B]
  std::vector<SamplingParams> sampling;   // [R]
  std::vector<int64_t> sample_positions;  // [R] tokens drawn before: the draw's counter
  // [R] the tokens of those requests, for penalties; valid until the step's Commit.
  std::vector<TokenHistory> history;
};

// Something that a client should hear of a request: a token, its end, or both.
struct TokenEvent {
  uint64_t id = 0;
  std::optional<SampledToken> token;
  std::optional<FinishReason> finish_reason;  // set on the request's last event
  int32_t num_prompt = 0;                     // tokens, for the usage report
  int32_t cached_prompt_tokens = 0;           // of those, found in the prefix cache
  int32_t num_generated = 0;                  // this token included
};

}  // namespace quire
