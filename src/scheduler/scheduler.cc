#include "scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "scheduler/step_builder.h"

namespace quire {

namespace {

Status ValidateAtLeastOne(const char* name, int32_t value) {
  return value >= 1
             ? OkStatus()
             : InvalidArgument("scheduler: ", name, " is ", value, "; it must be at least 1");
}

int32_t PagesOf(int32_t tokens, int32_t page_size) {
  return (tokens + page_size - 1) / page_size;
}

}  // namespace

Status SchedulerConfig::Validate() const {
  QUIRE_RETURN_IF_ERROR(ValidateAtLeastOne("max_running", max_running));
  QUIRE_RETURN_IF_ERROR(ValidateAtLeastOne("step_token_budget", step_token_budget));
  QUIRE_RETURN_IF_ERROR(ValidateAtLeastOne("max_prefill_chunk", max_prefill_chunk));
  QUIRE_RETURN_IF_ERROR(ValidateAtLeastOne("max_waiting", max_waiting));
  if (max_context < 2) {
    return InvalidArgument("scheduler: max_context is ", max_context, "; it must be at least 2");
  }
  return OkStatus();
}

Scheduler::Scheduler(const SchedulerConfig& config, KvCache& cache)
    : config_(config), cache_(cache) {
  QUIRE_CHECK(config.Validate().ok()) << config.Validate().message();
}

Scheduler::~Scheduler() {
  for (const Request* request : running_) {
    cache_.Release(request->sequence());
  }
}

Status Scheduler::Add(RequestSpec spec) {
  QUIRE_RETURN_IF_ERROR(spec.Validate());
  if (requests_.contains(spec.id)) {
    return InvalidArgument("request id ", spec.id, " is in use; choose another");
  }
  const auto prompt = static_cast<int64_t>(spec.prompt.size());
  if (prompt + 1 > config_.max_context) {
    return InvalidArgument("the prompt has ", prompt,
                           " tokens, which leaves no room for a new one in the ", "context of ",
                           config_.max_context, " tokens; shorten the prompt");
  }
  const int64_t needed = std::min<int64_t>(prompt + spec.max_new_tokens, config_.max_context) - 1;
  if (needed > cache_.capacity_tokens()) {
    return InvalidArgument("the request needs kv memory for ", needed, " tokens (", prompt,
                           " of the prompt and up to ", needed - prompt + 1,
                           " new ones), but there is memory for ", cache_.capacity_tokens(),
                           "; shorten the prompt, ask for fewer new tokens ",
                           "or give the server more kv memory");
  }
  if (num_waiting() >= config_.max_waiting) {
    return Unavailable("the queue is full with ", num_waiting(), " requests; try again later");
  }
  auto request = std::make_unique<Request>(std::move(spec), next_arrival_++, config_.max_context);
  waiting_.emplace(request->arrival(), request.get());
  requests_.emplace(request->id(), std::move(request));
  return OkStatus();
}

bool Scheduler::Cancel(uint64_t id) {
  const auto it = requests_.find(id);
  if (it == requests_.end() || it->second->state() == RequestState::kFinished) {
    return false;
  }
  Request& request = *it->second;
  request.Finish(FinishReason::kCancelled);
  if (request.scheduled_rows() == 0) {
    Retire(request);
  }
  return true;
}

std::optional<Step> Scheduler::Schedule() {
  QUIRE_CHECK(!step_in_flight_) << "schedule while step " << serial_ << " is in flight";
  if (requests_.empty()) {
    return std::nullopt;
  }
  Plan plan;
  PlanDecodes(plan);
  PlanPrefills(plan);
  Admit(plan);
  QUIRE_CHECK(!plan.requests.empty()) << "no progress with " << num_running() << " running and "
                                      << num_waiting() << " waiting requests";
  QUIRE_CHECK_LE(plan.rows, config_.step_token_budget);
  StepBuilder builder(++serial_, plan.requests.size(), plan.rows);
  for (const Request* request : plan.requests) {
    builder.Add(*request, cache_.Table(request->sequence()), request->scheduled_rows());
  }
  in_flight_ = std::move(plan.requests);
  step_in_flight_ = true;
  ++totals_.steps;
  totals_.computed_rows += plan.rows;
  return std::move(builder).Finish();
}

void Scheduler::PlanDecodes(Plan& plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->remaining() == 1) {
      Grow(*running_[i], 1, plan);
    }
  }
}

void Scheduler::PlanPrefills(Plan& plan) {
  for (size_t i = 0; i < running_.size() && plan.rows < config_.step_token_budget; ++i) {
    if (running_[i]->remaining() > 1) {
      Grow(*running_[i], ChunkOf(*running_[i], plan), plan);
    }
  }
}

void Scheduler::Admit(Plan& plan) {
  // Followers are bounded, so that a long queue of like requests does not cost a long look.
  while (!plan.preempted && !waiting_.empty() && plan.rows < config_.step_token_budget &&
         num_running() < config_.max_running && followers_.size() < config_.max_running) {
    Request& request = *waiting_.begin()->second;
    if (blocked_ && blocked_->id == request.id() && !PagesSuffice(request, blocked_->prefix)) {
      return;
    }
    const KvCache::Prefix prefix = cache_.Lookup(request.tokens());
    if (const Request* leader = LeaderOf(request, prefix.tokens, plan)) {
      waiting_.erase(waiting_.begin());
      followers_.Add(request, *leader, SharedTokens(*leader, request));
      continue;
    }
    if (!PagesSuffice(request, prefix)) {
      blocked_ = {request.id(), prefix};
      return;
    }
    waiting_.erase(waiting_.begin());
    StartRequest(request);
    Grow(request, ChunkOf(request, plan), plan);
  }
}

void Scheduler::StartRequest(Request& request) {
  const KvCache::Started started = cache_.StartSequence(request.tokens());
  request.Start(started.id, started.matched);
  const auto younger = std::ranges::upper_bound(running_, request.arrival(), {}, &Request::arrival);
  running_.insert(younger, &request);
}

int32_t Scheduler::ChunkOf(const Request& request, const Plan& plan) const {
  return std::min(
      {request.remaining(), config_.max_prefill_chunk, config_.step_token_budget - plan.rows});
}

void Scheduler::Grow(Request& request, int32_t rows, Plan& plan) {
  while (!cache_.Extend(request.sequence(), rows)) {
    if (const int32_t room = cache_.RoomFor(request.sequence(), rows); room > 0) {
      rows = room;
      continue;
    }
    if (running_.back() == &request) {
      return;  // the youngest waits for the others to end
    }
    PreemptYoungest(plan);
  }
  request.set_scheduled_rows(rows);
  plan.requests.push_back(&request);
  plan.rows += rows;
}

void Scheduler::PreemptYoungest(Plan& plan) {
  Request& victim = *running_.back();
  if (victim.scheduled_rows() > 0) {
    plan.rows -= victim.scheduled_rows();
    std::erase(plan.requests, &victim);
  }
  // All its computed whole pages are published: they stay cached for its return as long as they
  // can.
  LeaveRunning(victim);
  victim.Preempt();
  ReleaseFollowers(victim);
  waiting_.emplace(victim.arrival(), &victim);
  plan.preempted = true;
  ++totals_.preemptions;
}

void Scheduler::LeaveRunning(Request& request) {
  cache_.Release(request.sequence());
  const auto place = std::ranges::lower_bound(running_, request.arrival(), {}, &Request::arrival);
  QUIRE_CHECK(place != running_.end() && *place == &request);
  running_.erase(place);
  blocked_.reset();
}

void Scheduler::ReleaseFollowers(const Request& leader) {
  for (Request* follower : followers_.Release(leader)) {
    waiting_.emplace(follower->arrival(), follower);
  }
}

const Request* Scheduler::LeaderOf(const Request& request, int32_t matched,
                                   const Plan& plan) const {
  const int32_t end = matched + cache_.page_size();
  if (!cache_.options().prefix_caching || end > request.num_tokens() - 1) {
    return nullptr;
  }
  const auto shared = std::span(request.tokens()).first(end);
  const auto leader = std::ranges::find_if(plan.requests, [&](const Request* other) {
    return other->computed() < end && other->num_tokens() >= end &&
           std::equal(shared.begin(), shared.end(), other->tokens().begin());
  });
  return leader == plan.requests.end() ? nullptr : *leader;
}

int32_t Scheduler::SharedTokens(const Request& leader, const Request& follower) const {
  const auto wanted = std::span(follower.tokens()).first(follower.num_tokens() - 1);
  const auto differ = std::ranges::mismatch(wanted, leader.tokens()).in1;
  const auto shared = static_cast<int32_t>(differ - wanted.begin());
  return shared - shared % cache_.page_size();
}

bool Scheduler::PagesSuffice(const Request& request, const KvCache::Prefix& prefix) const {
  if (running_.empty()) {
    return true;
  }
  int64_t needed = prefix.cached_pages + PagesToCome(request, prefix.tokens / cache_.page_size());
  for (const Request* running : running_) {
    const int32_t tokens = running->computed() + running->scheduled_rows();
    needed += PagesToCome(*running, PagesOf(tokens, cache_.page_size()));
  }
  return needed <= cache_.available_pages();
}

int32_t Scheduler::PagesToCome(const Request& request, int32_t pages_held) const {
  const int32_t known = std::max(PagesOf(request.num_tokens(), cache_.page_size()), pages_held);
  const int32_t last = PagesOf(request.max_kv_tokens(), cache_.page_size());
  return known - pages_held + (last > known ? 1 : 0);
}

std::vector<TokenEvent> Scheduler::Commit(const Step& step, std::span<const SampledToken> sampled) {
  EndStep(step);
  QUIRE_CHECK_EQ(sampled.size(), step.batch.logit_rows.size());
  std::vector<TokenEvent> events;
  events.reserve(sampled.size());
  size_t next_sample = 0;
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    Request& request = *in_flight_[i];
    const bool samples = step.sequences[i].samples;
    const SampledToken* token = samples ? &sampled[next_sample++] : nullptr;
    const int32_t rows = request.scheduled_rows();
    request.set_scheduled_rows(0);
    if (request.state() == RequestState::kFinished) {  // cancelled meanwhile
      Retire(request);
      continue;
    }
    request.Advance(rows);
    PublishPages(request, rows);
    if (token == nullptr) {
      continue;
    }
    request.Append(token->token);
    events.push_back(EventOf(request));
    events.back().token = *token;
    if (request.state() == RequestState::kFinished) {
      Retire(request);
    }
  }
  in_flight_.clear();
  return events;
}

void Scheduler::PublishPages(const Request& request, int32_t new_rows) {
  if ((request.computed() % cache_.page_size()) < new_rows) {  // a page is whole now
    cache_.Publish(request.sequence(), request.computed_tokens());
    ReleaseFollowers(request);
  }
}

std::vector<TokenEvent> Scheduler::Abandon(const Step& step) {
  EndStep(step);
  std::vector<TokenEvent> events;
  for (Request* request : in_flight_) {
    request->set_scheduled_rows(0);
    if (request->state() != RequestState::kFinished) {
      request->Finish(FinishReason::kError);
      events.push_back(EventOf(*request));
    }
    Retire(*request);
  }
  in_flight_.clear();
  return events;
}

void Scheduler::EndStep(const Step& step) {
  QUIRE_CHECK(step_in_flight_) << "step " << step.serial << " ends twice";
  QUIRE_CHECK_EQ(step.serial, serial_);
  step_in_flight_ = false;
}

void Scheduler::Retire(Request& request) {
  QUIRE_CHECK(request.state() == RequestState::kFinished);
  if (request.has_sequence()) {
    LeaveRunning(request);
    ReleaseFollowers(request);
  } else if (!followers_.Remove(request)) {
    waiting_.erase(request.arrival());
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

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = totals_;
  stats.num_waiting = num_waiting();
  stats.num_running = num_running();
  return stats;
}

Status Scheduler::CheckInvariants() const {
  QUIRE_RETURN_IF_ERROR(cache_.CheckInvariants());
  if (cache_.num_sequences() != num_running() ||
      requests_.size() != running_.size() + num_waiting()) {
    return InternalError("scheduler: ", num_running(), " running and ", num_waiting(),
                         " waiting of ", requests_.size(), " requests, ", cache_.num_sequences(),
                         " sequences in the cache");
  }
  for (const Request* request : running_) {
    const int32_t length = cache_.Table(request->sequence()).length();
    if (!step_in_flight_ && length != request->computed()) {
      return InternalError("scheduler: request ", request->id(), " has computed ",
                           request->computed(), " tokens, but its table holds ", length);
    }
  }
  if (!std::ranges::is_sorted(running_, {}, &Request::arrival)) {
    return InternalError("scheduler: running requests are out of order");
  }
  return OkStatus();
}

}  // namespace quire
