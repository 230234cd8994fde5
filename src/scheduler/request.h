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
inline constexpr int64_t kMaxSessionTtlMs = 86'400'000;

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
  // At its end its computed pages are pinned in the name of this session, in place of those that
  // are; empty = none. Not if it fails, nor if too few pages may be pinned.
  std::string session;
  int64_t session_ttl_ms = 0;  // how long; 1 .. kMaxSessionTtlMs with a session

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
//
// While a step is in flight, its outcome may be assumed so that the next can be formed: its rows
// are computed and, if it draws, one more token is there, DrawnToken() until it is revealed.
class Request {
 public:
  // REQUIRES: spec.Validate() is OK.
  Request(RequestSpec spec, Rank rank, int32_t max_context);

  uint64_t id() const { return spec_.id; }
  const Rank& rank() const { return rank_; }
  const std::string& tenant() const { return spec_.tenant; }
  uint64_t cache_salt() const { return spec_.cache_salt; }
  int32_t priority() const { return spec_.priority; }
  const std::string& session() const { return spec_.session; }
  int64_t session_ttl_ms() const { return spec_.session_ttl_ms; }
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
  // Of these, those of steps that have been committed.
  int32_t confirmed() const { return computed_ - assumed_rows_; }
  // Rows to compute before the next token can be drawn; at least 1 while it runs.
  int32_t remaining() const { return num_tokens() - computed_; }
  // May a step have rows of it? Not if its last token is assumed to be drawn.
  bool wants_rows() const { return state_ == RequestState::kRunning && num_tokens() < max_tokens_; }
  std::span<const int32_t> computed_tokens() const { return std::span(tokens_).first(computed_); }

  // Guesses of the tokens to follow, which the step in flight verifies; in memory they follow
  // tokens(), so that each has the tokens before it as its history.
  std::span<const int32_t> drafts() const { return std::span(tokens_).last(num_drafts_); }
  std::span<const int32_t> tokens_and_drafts() const { return tokens_; }
  void SetDrafts(std::span<const int32_t> drafts);  // in place of those before; none = {}
  DraftLength& draft_length() { return draft_length_; }

  // Rows in the last step formed, drafts included, until its outcome is assumed or committed; 0 if
  // it is not in that.
  int32_t scheduled_rows() const { return scheduled_rows_; }
  void set_scheduled_rows(int32_t rows) { scheduled_rows_ = rows; }
  // Steps in flight that it has rows in: its pages stay until there is none.
  int32_t steps_in_flight() const { return steps_in_flight_; }
  void EnterStep() { ++steps_in_flight_; }
  void LeaveStep() { --steps_in_flight_; }

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
  // The step in flight computes `rows` rows, and draws number `sample` of its tokens if these are
  // all that remain. REQUIRES: running, no drafts, no other step's outcome is assumed.
  void Assume(int32_t rows, int32_t sample);
  // Which token of the step in flight its last one will be; none if all are known.
  std::optional<int32_t> unknown_sample() const { return unknown_sample_; }
  // Spans of tokens() that were taken before see it too.
  void Reveal(int32_t token);
  // What is assumed has come true. Takes the token that is assumed to be drawn out again: Append
  // says which it is.
  void Confirm();
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
  std::vector<int32_t> tokens_;  // and drafts; never moves while it runs
  int32_t num_drafts_ = 0;
  DraftLength draft_length_;
  RequestState state_ = RequestState::kWaiting;
  std::optional<FinishReason> finish_reason_;
  int32_t computed_ = 0;
  int32_t assumed_rows_ = 0;
  std::optional<int32_t> unknown_sample_;
  int32_t scheduled_rows_ = 0;
  int32_t steps_in_flight_ = 0;
  int32_t matched_tokens_ = 0;
  int32_t cached_prompt_tokens_ = 0;
  std::optional<KvSequenceId> sequence_;
};

}  // namespace quire
