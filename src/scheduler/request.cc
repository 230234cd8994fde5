#include "scheduler/request.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ops/batch.h"

namespace quire {

Status RequestSpec::Validate() const {
  if (prompt.empty()) {
    return InvalidArgument("the prompt has no tokens; send at least one");
  }
  if (max_new_tokens < 1) {
    return InvalidArgument("max_new_tokens is ", max_new_tokens, "; it must be at least 1");
  }
  if (min_tokens < 0 || min_tokens > max_new_tokens) {
    return InvalidArgument("min_tokens is ", min_tokens, "; it must be 0 to max_new_tokens, ",
                           max_new_tokens);
  }
  if (priority < kHighestPriority || priority > kLowestPriority) {
    return InvalidArgument("priority is ", priority, "; it must be ", kHighestPriority, " to ",
                           kLowestPriority, ", where the lower number goes first");
  }
  if (deadline_ms < 0) {
    return InvalidArgument("deadline_ms is ", deadline_ms,
                           "; it must be the milliseconds from now, or 0 for none");
  }
  if (tenant.size() > kMaxTenantBytes) {
    return InvalidArgument("the name of the tenant has ", tenant.size(), " bytes; it may have ",
                           kMaxTenantBytes);
  }
  if (!session.empty() && (session_ttl_ms < 1 || session_ttl_ms > kMaxSessionTtlMs)) {
    return InvalidArgument("session_ttl_ms is ", session_ttl_ms, "; it must be 1 to ",
                           kMaxSessionTtlMs);
  }
  return sampling.Validate();
}

std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
  }
  return "unknown";
}

Request::Request(RequestSpec spec, Rank rank, int32_t max_context)
    : spec_(std::move(spec)),
      rank_(rank),
      num_prompt_(static_cast<int32_t>(spec_.prompt.size())),
      max_tokens_(static_cast<int32_t>(
          std::min<int64_t>(int64_t{num_prompt_} + spec_.max_new_tokens, max_context))),
      tokens_(std::move(spec_.prompt)) {
  QUIRE_CHECK_LT(num_prompt_, max_tokens_) << "request " << id() << " has no room for a token";
}

KvSequenceId Request::sequence() const {
  QUIRE_CHECK(sequence_.has_value()) << "request " << id() << " has no sequence";
  return *sequence_;
}

void Request::Start(KvSequenceId sequence, int32_t matched) {
  QUIRE_CHECK(state_ == RequestState::kWaiting || state_ == RequestState::kPreempted);
  QUIRE_CHECK_LT(matched, num_tokens());
  if (state_ == RequestState::kWaiting) {
    cached_prompt_tokens_ = matched;
  }
  state_ = RequestState::kRunning;
  tokens_.reserve(static_cast<size_t>(max_tokens_));
  sequence_ = sequence;
  computed_ = matched;
  matched_tokens_ = matched;
}

void Request::Preempt() {
  QUIRE_CHECK(state_ == RequestState::kRunning) << "request " << id() << " is not running";
  state_ = RequestState::kPreempted;
  sequence_.reset();
  computed_ = 0;
  scheduled_rows_ = 0;
}

void Request::Advance(int32_t rows) {
  QUIRE_CHECK(state_ == RequestState::kRunning) << "request " << id() << " is not running";
  QUIRE_CHECK_LE(rows, remaining());
  computed_ += rows;
}

void Request::Assume(int32_t rows, int32_t sample) {
  QUIRE_CHECK_EQ(assumed_rows_, 0) << "the outcome of two steps is assumed for request " << id();
  QUIRE_CHECK_EQ(num_drafts_, 0);
  Advance(rows);
  assumed_rows_ = rows;
  scheduled_rows_ = 0;
  if (remaining() == 0) {
    tokens_.push_back(DrawnToken(sample));
    unknown_sample_ = sample;
  }
}

void Request::Reveal(int32_t token) {
  QUIRE_CHECK(unknown_sample_.has_value()) << "request " << id() << " knows all its tokens";
  tokens_.back() = token;
}

void Request::Confirm() {
  assumed_rows_ = 0;
  if (unknown_sample_.has_value()) {
    tokens_.pop_back();
    unknown_sample_.reset();
  }
}

void Request::SetDrafts(std::span<const int32_t> drafts) {
  tokens_.resize(num_tokens());
  tokens_.insert(tokens_.end(), drafts.begin(), drafts.end());
  num_drafts_ = static_cast<int32_t>(drafts.size());
}

void Request::Append(int32_t token) {
  QUIRE_CHECK_EQ(num_drafts_, 0) << "a token of request " << id() << " is drawn beside its drafts";
  QUIRE_CHECK_EQ(remaining(), 0) << "a token of request " << id() << " is drawn too early";
  tokens_.push_back(token);
  if (IsStop(token)) {
    Finish(FinishReason::kStop);
  } else if (num_tokens() >= max_tokens_) {
    Finish(FinishReason::kLength);
  }
}

void Request::Finish(FinishReason reason) {
  QUIRE_CHECK(state_ != RequestState::kFinished) << "request " << id() << " finishes twice";
  state_ = RequestState::kFinished;
  finish_reason_ = reason;
}

bool Request::IsStop(int32_t token) const {
  if (spec_.ignore_eos || num_generated() <= spec_.min_tokens) {
    return false;
  }
  return std::ranges::find(spec_.stop_token_ids, token) != spec_.stop_token_ids.end();
}

}  // namespace quire
