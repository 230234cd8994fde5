#include "scheduler/scheduler.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "scheduler/preemption.h"
#include "scheduler/step_builder.h"

namespace quire {

namespace {

Status ValidateAtLeastOne(const char* name, int32_t value) {
  return value >= 1
             ? OkStatus()
             : InvalidArgument("scheduler: ", name, " is ", value, "; it must be at least 1");
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

Scheduler::Scheduler(const SchedulerConfig& config, KvCache& cache,
                     std::unique_ptr<DraftSource> drafts)
    : config_(config),
      cache_(cache),
      drafts_(std::move(drafts)),
      queue_(MakeQueueOrder(config.queue_policy)),
      forecast_(cache.page_size()) {
  QUIRE_CHECK(config.Validate().ok()) << config.Validate().message();
}

Scheduler::~Scheduler() {
  for (const Request* request : running_) {
    cache_.Release(request->sequence());
  }
}

Status Scheduler::Add(RequestSpec spec, int64_t now_ms) {
  QUIRE_RETURN_IF_ERROR(spec.Validate());
  if (requests_.contains(spec.id)) {
    return InvalidArgument("request id ", spec.id, " is in use; choose another");
  }
  if (config_.queue_policy == QueuePolicy::kArrival &&
      (spec.priority != 0 || spec.deadline_ms != 0)) {
    return InvalidArgument("priority is ", spec.priority, " and deadline_ms ", spec.deadline_ms,
                           ", but requests are served in order of arrival; leave them out or ",
                           "choose another scheduling policy");
  }
  const auto prompt = static_cast<int64_t>(spec.prompt.size());
  if (prompt + 1 > config_.max_context) {
    return InvalidArgument("the prompt has ", prompt,
                           " tokens, which leaves no room for a new one in the ", "context of ",
                           config_.max_context, " tokens; shorten the prompt");
  }
  if (!spec.session.empty() && cache_.options().max_pinned_pages == 0) {
    return InvalidArgument("the request names a session, but no kv memory is set apart for ",
                           "sessions; leave it out or start the server with --session-cache");
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
    return ResourceExhausted("the queue is full with ", num_waiting(),
                             " requests; try again later");
  }
  const Rank rank = RankOf(config_.queue_policy, spec, now_ms, next_arrival_++);
  auto request = std::make_unique<Request>(std::move(spec), rank, config_.max_context);
  queue_->Push(*request);
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
  RetireIfDone(request);
  return true;
}

std::optional<Step> Scheduler::Schedule(int64_t now_ms) {
  QUIRE_CHECK(in_flight_.empty()) << "schedule while step " << serial_ << " is in flight";
  if (requests_.empty()) {
    return std::nullopt;
  }
  Plan plan = PlanRows(now_ms, false);
  while (plan.requests.empty() && cache_.is_loading()) {
    // Nobody has a row without the pages that come from a tier.
    if (const Status status = cache_.WaitForTiers(); !status.ok()) {
      LogWarning(status.message());
    }
    plan = PlanRows(now_ms, false);
  }
  if (plan.requests.empty() && !cache_.health().ok()) {
    return std::nullopt;  // pages are missing by a violation: the caller resets
  }
  QUIRE_CHECK(!plan.requests.empty()) << "no progress with " << num_running() << " running and "
                                      << num_waiting() << " waiting requests";
  PlanDrafts(plan);
  Step step = Form(std::move(plan));
  step.copies = cache_.TakeCopies();
  return step;
}

Step Scheduler::Form(Plan plan) {
  QUIRE_CHECK_LE(plan.rows, config_.step_token_budget);
  StepBuilder builder(++serial_, plan.requests.size(), plan.rows);
  for (Request* request : plan.requests) {
    builder.Add(*request, cache_.Table(request->sequence()), request->scheduled_rows());
    request->EnterStep();
  }
  in_flight_.push_back({.serial = serial_, .requests = std::move(plan.requests)});
  return std::move(builder).Finish();
}

Scheduler::Plan Scheduler::PlanRows(int64_t now_ms, bool ahead) {
  cache_.AdvanceTo(now_ms);
  Plan plan;
  plan.ahead = ahead;
  PlanDecodes(plan);
  PlanPrefills(plan);
  Admit(plan, now_ms);
  return plan;
}

void Scheduler::PlanDecodes(Plan& plan) {
  for (size_t i = 0; i < running_.size() && !plan.needs_outcome; ++i) {
    if (running_[i]->wants_rows() && running_[i]->remaining() == 1) {
      Grow(*running_[i], 1, plan);
    }
  }
}

void Scheduler::PlanPrefills(Plan& plan) {
  for (size_t i = 0;
       i < running_.size() && !plan.needs_outcome && plan.rows < config_.step_token_budget; ++i) {
    if (running_[i]->wants_rows() && running_[i]->remaining() > 1) {
      Grow(*running_[i], ChunkOf(*running_[i], plan), plan);
    }
  }
}

void Scheduler::Admit(Plan& plan, int64_t now_ms) {
  growths_.clear();
  // Followers are bounded, so that a long queue of like requests does not cost a long look.
  while (!plan.preempted && !plan.needs_outcome && plan.rows < config_.step_token_budget &&
         num_running() < config_.max_running && followers_.size() < config_.max_running) {
    Request* request = queue_->First(now_ms);
    if (request == nullptr || blocked_ == request->id()) {
      return;
    }
    if (cache_.Prefetch(request->tokens(), request->cache_salt(), !plan.ahead) > 0) {
      plan.needs_outcome = plan.ahead && !cache_.is_loading();
      return;  // what a tier has of it is on its way
    }
    const KvCache::Prefix prefix = cache_.Lookup(request->tokens(), request->cache_salt());
    if (const Request* leader = LeaderOf(*request, prefix.tokens, plan)) {
      queue_->Remove(*request);
      followers_.Add(*request, *leader, SharedTokens(*leader, *request));
      continue;
    }
    if (!PagesSuffice(*request, prefix)) {
      blocked_ = request->id();
      return;
    }
    queue_->Remove(*request);
    StartRequest(*request);
    Grow(*request, ChunkOf(*request, plan), plan);
  }
}

void Scheduler::StartRequest(Request& request) {
  const bool first_start = request.state() == RequestState::kWaiting;
  const bool priorities = config_.queue_policy != QueuePolicy::kArrival;
  const int32_t above_lowest = priorities ? kLowestPriority - request.priority() : 0;
  const KvCache::Started started = cache_.StartSequence(
      request.tokens(), {.cache_salt = request.cache_salt(),
                         .priority = above_lowest,
                         .ttl = above_lowest * kAgingMs});  // as long as others make up for it
  request.Start(started.id, started.matched);
  if (first_start) {
    queue_->Charge(request, request.remaining());
  }
  running_.insert(std::ranges::upper_bound(running_, request.rank(), {}, &Request::rank), &request);
}

void Scheduler::PlanDrafts(Plan& plan) {
  int32_t rows = std::min(config_.max_draft_step_rows, config_.step_token_budget) - plan.rows;
  if (drafts_ == nullptr || rows <= 0) {
    return;
  }
  std::vector<DraftQuery> queries;
  std::vector<Request*> requests;
  for (Request* request : plan.requests) {
    const int32_t left = request->max_generated() - request->num_generated() - 1;
    const int32_t most =
        request->remaining() == 1 ? std::min({request->draft_length().Next(), left, rows}) : 0;
    if (most > 0) {
      queries.push_back(
          {.id = request->id(), .tokens = request->tokens(), .most = most, .drafts = {}});
      requests.push_back(request);
    }
  }
  drafts_->Propose(queries);
  for (size_t i = 0; i < queries.size() && rows > 0; ++i) {
    Request& request = *requests[i];
    // Nothing is evicted for a guess.
    const int64_t room = cache_.Table(request.sequence()).room_in_last_page() +
                         int64_t{cache_.stats().free_pages} * cache_.page_size();
    const auto count = static_cast<int32_t>(
        std::min<int64_t>({static_cast<int64_t>(queries[i].drafts.size()), rows, room}));
    if (!cache_.Extend(request.sequence(), count)) {
      continue;
    }
    request.SetDrafts(std::span(queries[i].drafts).first(count));
    request.set_scheduled_rows(1 + count);
    plan.rows += count;
    rows -= count;
    totals_.drafted += count;
  }
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
    plan.needs_outcome = plan.ahead;
    Request* victim = plan.ahead ? nullptr : ChooseVictim(running_, request);
    if (victim == nullptr) {
      return;
    }
    Preempt(*victim, plan);
  }
  request.set_scheduled_rows(rows);
  plan.requests.push_back(&request);
  plan.rows += rows;
}

void Scheduler::Preempt(Request& victim, Plan& plan) {
  if (victim.scheduled_rows() > 0) {
    plan.rows -= victim.scheduled_rows();
    std::erase(plan.requests, &victim);
  }
  // All its computed whole pages are published: they stay cached for its return as long as they
  // can.
  LeaveRunning(victim);
  victim.Preempt();
  ReleaseFollowers(victim);
  queue_->Push(victim);
  plan.preempted = true;
  ++totals_.preemptions;
}

void Scheduler::LeaveRunning(Request& request) {
  cache_.Release(request.sequence());
  const auto place = std::ranges::lower_bound(running_, request.rank(), {}, &Request::rank);
  QUIRE_CHECK(place != running_.end() && *place == &request);
  running_.erase(place);
  blocked_.reset();
}

void Scheduler::ReleaseFollowers(const Request& leader) {
  for (Request* follower : followers_.Release(leader)) {
    queue_->Push(*follower);
  }
}

const Request* Scheduler::LeaderOf(const Request& request, int32_t matched,
                                   const Plan& plan) const {
  const int32_t end = matched - matched % cache_.page_size() + cache_.page_size();
  if (!cache_.options().prefix_caching || end > request.num_tokens() - 1) {
    return nullptr;
  }
  const auto shared = request.tokens().first(end);
  const auto find = [&](const std::vector<Request*>& requests) -> const Request* {
    const auto leader = std::ranges::find_if(requests, [&](const Request* other) {
      return other->state() == RequestState::kRunning && other->confirmed() < end &&
             other->num_tokens() >= end && other->cache_salt() == request.cache_salt() &&
             std::equal(shared.begin(), shared.end(), other->tokens().begin());
    });
    return leader == requests.end() ? nullptr : *leader;
  };
  const Request* leader = find(plan.requests);
  return leader == nullptr && plan.ahead ? find(in_flight_.front().requests) : leader;
}

int32_t Scheduler::SharedTokens(const Request& leader, const Request& follower) const {
  const auto wanted = follower.tokens().first(follower.num_tokens() - 1);
  const auto differ = std::ranges::mismatch(wanted, leader.tokens()).in1;
  const auto shared = static_cast<int32_t>(differ - wanted.begin());
  return shared - shared % cache_.page_size();
}

bool Scheduler::PagesSuffice(const Request& request, const KvCache::Prefix& prefix) {
  if (running_.empty()) {
    return true;
  }
  if (growths_.empty()) {
    ForecastRunning();
  }
  const int32_t matched = prefix.tokens / cache_.page_size();
  Growth growth = forecast_.Of(request, matched, matched);
  growth.known_pages += prefix.cached_pages;  // it takes them from the available ones
  const auto place =
      std::ranges::upper_bound(growths_, growth.to_come, std::greater<>(), &Growth::to_come);
  const auto inserted = growths_.insert(place, growth);
  if (forecast_.PeakPages(growths_) <= available_pages_) {
    return true;
  }
  growths_.erase(inserted);
  return false;
}

void Scheduler::ForecastRunning() {
  available_pages_ = cache_.available_pages();
  for (const Request* running : running_) {
    const int32_t tokens = running->computed() + running->scheduled_rows();
    growths_.push_back(forecast_.Of(*running, CeilDiv(tokens, cache_.page_size()),
                                    running->matched_tokens() / cache_.page_size()));
  }
  std::ranges::sort(growths_, std::greater<>(), &Growth::to_come);
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
    if (length != request->computed() + request->scheduled_rows()) {
      return InternalError("scheduler: request ", request->id(), " has computed ",
                           request->computed(), " tokens and ", request->scheduled_rows(),
                           " rows in flight, but its table holds ", length);
    }
  }
  if (!std::ranges::is_sorted(running_, {}, &Request::rank)) {
    return InternalError("scheduler: running requests are out of order");
  }
  return OkStatus();
}

}  // namespace quire
