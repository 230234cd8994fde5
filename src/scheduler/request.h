// RequestSpec: what a client asks for. Request: how far the scheduler has come with it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_cache.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "scheduler/draft_length.h"

namespace quire {

inline constexpr int32_t kHighestPriority = -10;
inline constexpr int32_t kLowestPriority = 10;
inline constexpr int64_t kAgingMs = 10'000;  // waiting that makes up for one priority
inline constexpr size_t kMaxTenantBytes = 256;

struct RequestSpec {
  uint64_t id = 0;  // unique among the requests that are not finished
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int32_t max_new_tokens = 1;
  std::vector<int32_t> stop_token_ids;  // end of generation; the one drawn is output too
  bool ignore_eos = false;              // stop_token_ids do not end the generation
  int32_t min_tokens = 0;               // stop_token_ids do not end it before this many tokens
  int32_t priority = 0;     // kHighestPriority .. kLowestPriority; the lower number goes first
  int32_t deadline_ms = 0;  // after its arrival, when it should start at the latest; 0 = none
  std::string tenant;       // whose share its tokens count to; at most kMaxTenantBytes
  uint64_t cache_salt = 0;  // its cached tokens are shared with requests of the same salt alone

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

// Requests in the order in which they have a right to be served: the lesser first.
struct Rank {
  int64_t due_ms = 0;
  uint64_t arrival = 0;  // unique
  auto operator<=>(const Rank&) const = default;
};

// The state machine of one request. Its tokens are the prompt and then what was drawn; the KV of
// the first computed() of them is in the cache. A preempted request starts over with all of them as
// its prompt, so no token is drawn twice.
class Request {
 public:
  // REQUIRES: spec.Validate() is OK.
  Request(RequestSpec spec, Rank rank, int32_t max_context);

  uint64_t id() const { return spec_.id; }
  const Rank& rank() const { return rank_; }
  const std::string& tenant() const { return spec_.tenant; }
  uint64_t cache_salt() const { return spec_.cache_salt; }
  const SamplingParams& sampling() const { return spec_.sampling; }
  RequestState state() const { return state_; }

  std::span<const int32_t> tokens() const { return std::span(tokens_).first(num_tokens()); }
  std::span<const int32_t> prompt() const { return tokens().first(num_prompt_); }
  std::span<const int32_t> output() const { return tokens().subspan(num_prompt_); }
  int32_t num_tokens() const { return static_cast<int32_t>(tokens_.size()) - num_drafts_; }
  int32_t num_prompt() const { return num_prompt_; }
  int32_t num_generated() const { return num_tokens() - num_prompt_; }
  int32_t max_generated() const { return max_tokens_ - num_prompt_; }  // at least 1
  // Tokens in the KV cache when the request ends at the latest: the last one drawn is never
  // written.
  int32_t max_kv_tokens() const { return max_tokens_ - 1; }

  int32_t computed() const { return computed_; }
  // Rows to compute before the next token can be drawn; at least 1 while not finished.
  int32_t remaining() const { return num_tokens() - computed_; }
  std::span<const int32_t> computed_tokens() const { return std::span(tokens_).first(computed_); }

  // Guesses of the tokens to follow, which the step in flight verifies; in memory they follow
  // tokens(), so that each has the tokens before it as its history.
  std::span<const int32_t> drafts() const { return std::span(tokens_).last(num_drafts_); }
  std::span<const int32_t> tokens_and_drafts() const { return tokens_; }
  void SetDrafts(std::span<const int32_t> drafts);  // in place of those before; none = {}
  DraftLength& draft_length() { return draft_length_; }

  // Rows in the step that is being formed or in flight, drafts included; 0 if it is in none.
  int32_t scheduled_rows() const { return scheduled_rows_; }
  void set_scheduled_rows(int32_t rows) { scheduled_rows_ = rows; }

  // The cache's name of its sequence: set from Start to Preempt or the end.
  KvSequenceId sequence() const;
  bool has_sequence() const { return sequence_.has_value(); }
  // Tokens that the prefix cache had at the last start.
  int32_t matched_tokens() const { return matched_tokens_; }
  // Prompt tokens that it had at the first start.
  int32_t cached_prompt_tokens() const { return cached_prompt_tokens_; }
  std::optional<FinishReason> finish_reason() const { return finish_reason_; }

  // waiting or preempted -> running, with the first `matched` tokens' KV in the cache already.
  void Start(KvSequenceId sequence, int32_t matched);
  // running -> preempted.
  void Preempt();
  // The KV of `rows` more tokens is written. REQUIRES: running, rows <= remaining().
  void Advance(int32_t rows);
  // Adds a drawn token; finishes if it was the last. REQUIRES: running, remaining() == 0, no
  // drafts.
  void Append(int32_t token);
  // any state but finished -> finished.
  void Finish(FinishReason reason);

 private:
  bool IsStop(int32_t token) const;

  RequestSpec spec_;  // its prompt moved to tokens_
  Rank rank_;
  int32_t num_prompt_;
  int32_t max_tokens_;           // prompt and generated
  std::vector<int32_t> tokens_;  // and drafts
  int32_t num_drafts_ = 0;
  DraftLength draft_length_;
  RequestState state_ = RequestState::kWaiting;
  std::optional<FinishReason> finish_reason_;
  int32_t computed_ = 0;
  int32_t scheduled_rows_ = 0;
  int32_t matched_tokens_ = 0;
  int32_t cached_prompt_tokens_ = 0;
  std::optional<KvSequenceId> sequence_;
};

}  // namespace quire
