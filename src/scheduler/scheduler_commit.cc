// Scheduler: what becomes of a step.
#include <map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "scheduler/scheduler.h"

namespace quire {

namespace {

// A token drawn takes a step of its own, tokens of a prompt share one.
constexpr int64_t kDrawnTokenCost = 2;

}  // namespace

std::vector<TokenEvent> Scheduler::Commit(const Step& step, std::span<const SampledToken> sampled) {
  const std::vector<Request*> requests = EndStep(step);
  QUIRE_CHECK_EQ(sampled.size(), step.batch.logit_rows.size());
  std::vector<TokenEvent> events;
  events.reserve(sampled.size());
  size_t first = 0;
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    Request& request = *requests[i];
    const Step::Sequence& sequence = step.sequences[i];
    if (request.state() != RequestState::kFinished) {
      const int32_t accepted =
          sequence.num_samples > 0 ? AcceptedSamples(step, sequence, first, sampled) : 0;
      CommitRows(request, sequence.num_rows, sampled.subspan(first, accepted), first, events);
    }
    first += sequence.num_samples;
    RetireIfDone(request);  // it ended now or meanwhile
  }
  return events;
}

void Scheduler::CommitRows(Request& request, int32_t rows, std::span<const SampledToken> accepted,
                           size_t first, std::vector<TokenEvent>& events) {
  const auto drafts = static_cast<int32_t>(request.drafts().size());
  const int32_t before = request.confirmed();
  request.SetDrafts({});
  if (request.computed() == before) {  // its outcome was not assumed
    request.Assume(rows - drafts, static_cast<int32_t>(first));
  }
  request.Confirm();
  for (size_t i = 0; i < accepted.size(); ++i) {
    if (i > 0) {
      request.Advance(1);  // the draft, now its last token, is computed
    }
    request.Append(accepted[i].token);
    events.push_back(EventOf(request));
    events.back().token = accepted[i];
    events.back().sample = static_cast<int32_t>(first + i);
    queue_->Charge(request, kDrawnTokenCost);
    if (request.state() == RequestState::kFinished) {
      break;
    }
  }
  if (drafts > 0) {
    cache_.Truncate(request.sequence(), request.computed());
    const auto right = static_cast<int32_t>(accepted.size()) - 1;
    request.draft_length().Observe(drafts, right);
    totals_.accepted += right;
  }
  PublishPages(request, request.computed() - before);
}

void Scheduler::PublishPages(const Request& request, int32_t new_rows) {
  if ((request.computed() % cache_.page_size()) < new_rows) {  // a page is whole now
    cache_.Publish(request.sequence(), request.computed_tokens());
    ReleaseFollowers(request);
  }
}

// It may end by a stop string, which the server sees and then cancels it.
void Scheduler::PinForSession(const Request& request) {
  if (request.session().empty() || request.finish_reason() == FinishReason::kError) {
    return;
  }
  const Result<int32_t> pinned = cache_.Pin(request.session(), request.computed_tokens(),
                                            request.cache_salt(), request.session_ttl_ms());
  if (!pinned.ok()) {
    LogWarning(pinned.status().message());
  }
}

std::vector<TokenEvent> Scheduler::Abandon(const Step& step) {
  std::vector<TokenEvent> events;
  for (Request* request : EndStep(step)) {
    if (request->state() != RequestState::kFinished) {
      request->Finish(FinishReason::kError);
      events.push_back(EventOf(*request));
    }
    RetireIfDone(*request);
  }
  if (!in_flight_.empty()) {
    const std::vector<Request*> ahead = std::move(in_flight_.front().requests);
    in_flight_.clear();
    Withdraw(ahead);
    for (Request* request : ahead) {
      request->LeaveStep();
      RetireIfDone(*request);
    }
  }
  return events;
}

std::vector<TokenEvent> Scheduler::Reset() {
  std::map<uint64_t, Request*> in_order;
  for (const auto& [id, request] : requests_) {
    in_order.emplace(id, request.get());
  }
  std::vector<TokenEvent> events;
  for (const auto& [id, request] : in_order) {
    if (request->state() != RequestState::kFinished) {
      request->Finish(FinishReason::kError);
      events.push_back(EventOf(*request));
    }
    if (drafts_ != nullptr) {
      drafts_->Forget(id);
    }
    ++totals_.finished;
  }
  queue_ = MakeQueueOrder(config_.queue_policy);
  followers_ = {};
  running_.clear();
  blocked_.reset();
  in_flight_.clear();
  requests_.clear();
  cache_.Reset();
  return events;
}

std::vector<Request*> Scheduler::EndStep(const Step& step) {
  QUIRE_CHECK(!in_flight_.empty()) << "step " << step.serial << " ends twice";
  QUIRE_CHECK_EQ(step.serial, in_flight_.front().serial);
  const std::vector<Request*> requests = std::move(in_flight_.front().requests);
  in_flight_.pop_front();
  for (Request* request : requests) {
    request->LeaveStep();
  }
  ++totals_.steps;
  totals_.computed_rows += step.batch.num_tokens();
  return requests;
}

void Scheduler::RetireIfDone(Request& request) {
  if (request.state() != RequestState::kFinished || request.steps_in_flight() > 0) {
    return;
  }
  if (request.has_sequence()) {
    PinForSession(request);
    LeaveRunning(request);
    ReleaseFollowers(request);
  } else if (!followers_.Remove(request)) {
    queue_->Remove(request);
  }
  if (request.num_generated() > 0) {
    forecast_.Observe(request.num_generated(), request.max_generated());
  }
  if (drafts_ != nullptr) {
    drafts_->Forget(request.id());
  }
  ++totals_.finished;
  requests_.erase(request.id());
}

TokenEvent Scheduler::EventOf(const Request& request) const {
  return {.id = request.id(),
          .token = std::nullopt,
          .finish_reason = request.finish_reason(),
          .num_prompt = request.num_prompt(),
          .cached_prompt_tokens = request.cached_prompt_tokens(),
          .num_generated = request.num_generated()};
}

}  // namespace quire
