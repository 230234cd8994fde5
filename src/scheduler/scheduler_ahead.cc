// Scheduler: the step that is formed while another is in flight.
#include <utility>

#include "base/check.h"
#include "scheduler/scheduler.h"

namespace quire {

std::optional<Step> Scheduler::ScheduleAhead(const Step& running, int64_t now_ms) {
  QUIRE_CHECK_EQ(in_flight_.size(), 1u);
  QUIRE_CHECK_EQ(running.serial, in_flight_.front().serial);
  // A step so small may have drafts, and so may the one behind it.
  const bool drafts =
      drafts_ != nullptr && running.batch.num_tokens() <= config_.max_draft_step_rows;
  if (drafts || !cache_.health().ok()) {
    return std::nullopt;
  }
  int32_t sample = 0;
  for (size_t i = 0; i < running.sequences.size(); ++i) {
    Request& request = *in_flight_.front().requests[i];
    if (request.state() == RequestState::kRunning) {
      request.Assume(running.sequences[i].num_rows, sample);
    }
    sample += running.sequences[i].num_samples;
  }
  Plan plan = PlanRows(now_ms, true);
  if (plan.needs_outcome) {
    Withdraw(plan.requests);
    return std::nullopt;
  }
  if (plan.requests.empty()) {
    return std::nullopt;
  }
  return Form(std::move(plan));
}

void Scheduler::Withdraw(std::span<Request* const> requests) {
  for (Request* request : requests) {
    cache_.Truncate(request->sequence(), request->computed());
    request->set_scheduled_rows(0);
  }
}

void Scheduler::StartAhead(Step& ahead) {
  QUIRE_CHECK_EQ(ahead.serial, in_flight_.back().serial);
  ahead.copies = cache_.TakeCopies();
}

void Scheduler::FillTokens(Step& ahead, std::span<const SampledToken> sampled) {
  QUIRE_CHECK_EQ(ahead.serial, in_flight_.back().serial);
  for (const Step::UnknownToken& unknown : ahead.unknown) {
    Request& request = *in_flight_.back().requests[unknown.sequence];
    // The token of a request that was cancelled, perhaps since it could not be drawn, is any.
    const bool runs = request.state() == RequestState::kRunning;
    const int32_t token = runs ? sampled[unknown.sample].token : 0;
    ahead.batch.tokens[ahead.sequences[unknown.sequence].first_row] = token;
    request.Reveal(token);
  }
}

}  // namespace quire
