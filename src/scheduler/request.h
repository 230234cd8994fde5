// RequestSpec: what a client asks for. Request: how far the scheduler has come with it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_cache.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire {

struct RequestSpec {
  uint64_t id = 0;  // unique among the requests that are not finished
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int32_t max_new_tokens = 1;
  std::vector<int32_t> stop_token_ids;  // end of generation; the one drawn is output too
  bool ignore_eos = false;              // stop_token_ids do not end the generation
  int32_t min_tokens = 0;               // stop_token_ids do not end it before this many tokens

  // Errors: invalid_argument naming the field, its value and its range.
  Status Validate() const;
};

enum class RequestState : uint8_t {
  kWaiting,    // not started
  kRunning,    // holds a sequence of the cache
  kPreempted,  // was running, lost its pages; its KV will be computed again
  kFinished,
};

enum class FinishReason : uint8_t {
  kStop,    // drew a stop token
  kLength,  // max_new_tokens, or the context is full
  kCancelled,
  kError,  // a step that it was part of failed
};

// "stop", "length", "cancelled", "error"
std::string_view FinishReasonName(FinishReason reason);

// The state machine of one request. Its tokens are the prompt and then what was drawn; the KV of
// the first computed() of them is in the cache. A preempted request starts over with all of them as
// its prompt, so no token is drawn twice.
class Request {
 public:
  // REQUIRES: spec.Validate() is OK. `arrival` orders requests.
  Request(RequestSpec spec, uint64_t arrival, int32_t max_context);

  uint64_t id() const { return spec_.id; }
  uint64_t arrival() const { return arrival_; }
  const SamplingParams& sampling() const { return spec_.sampling; }
  RequestState state() const { return state_; }

  const std::vector<int32_t>& tokens() const { return tokens_; }
  std::span<const int32_t> prompt() const { return std::span(tokens_).first(num_prompt_); }
  std::span<const int32_t> output() const { return std::span(tokens_).subspan(num_prompt_); }
  int32_t num_tokens() const { return static_cast<int32_t>(tokens_.size()); }
  int32_t num_prompt() const { return num_prompt_; }
  int32_t num_generated() const { return num_tokens() - num_prompt_; }
  // Tokens in the KV cache when the request ends at the latest: the last one drawn is never
  // written.
  int32_t max_kv_tokens() const { return max_tokens_ - 1; }

  int32_t computed() const { return computed_; }
  // Rows to compute before the next token can be drawn; at least 1 while not finished.
  int32_t remaining() const { return num_tokens() - computed_; }
  std::span<const int32_t> computed_tokens() const { return std::span(tokens_).first(computed_); }

  // Of these, the rows in the step that is being formed or in flight; 0 if it is in none.
  int32_t scheduled_rows() const { return scheduled_rows_; }
  void set_scheduled_rows(int32_t rows) { scheduled_rows_ = rows; }

  // The cache's name of its sequence: set from Start to Preempt or the end.
  KvSequenceId sequence() const;
  bool has_sequence() const { return sequence_.has_value(); }
  // Prompt tokens that the prefix cache had at the first start.
  int32_t cached_prompt_tokens() const { return cached_prompt_tokens_; }
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }

  // waiting or preempted -> running, with the first `matched` tokens' KV in the cache already.
  void Start(KvSequenceId sequence, int32_t matched);
  // running -> preempted.
  void Preempt();
  // The KV of `rows` more tokens is written. REQUIRES: running, rows <= remaining().
  void Advance(int32_t rows);
  // Adds a drawn token; finishes if it was the last. REQUIRES: running, remaining() == 0.
  void Append(int32_t token);
  // any state but finished -> finished.
  void Finish(FinishReason reason);

 private:
  bool IsStop(int32_t token) const;

  RequestSpec spec_;  // its prompt moved to tokens_
  uint64_t arrival_;
  int32_t num_prompt_;
  int32_t max_tokens_;  // prompt and generated
  std::vector<int32_t> tokens_;
  RequestState state_ = RequestState::kWaiting;
  std::optional<FinishReason> finish_reason_;
  int32_t computed_ = 0;
  int32_t scheduled_rows_ = 0;
  int32_t cached_prompt_tokens_ = 0;
  std::optional<KvSequenceId> sequence_;
};

}  // namespace quire
