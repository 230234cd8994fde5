#include "simulation/simulation.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "scheduler/ngram_draft_source.h"
#include "simulation/fake_page_store.h"

namespace quire {

namespace {

std::unique_ptr<DraftSource> DraftsOf(const Scenario& scenario) {
  return scenario.speculates ? std::make_unique<NgramDraftSource>() : nullptr;
}

std::vector<std::unique_ptr<PageTier>> TiersOf(const Scenario& scenario, FakeModel& model,
                                               uint64_t seed) {
  std::vector<std::unique_ptr<PageTier>> tiers;
  if (scenario.tier_slots > 0) {
    tiers.push_back(std::make_unique<PageTier>(
        "fake", std::make_unique<FakePageStore>(model, scenario.tier_slots, seed,
                                                scenario.tier_failure_rate)));
  }
  return tiers;
}

}  // namespace

void Outcome::Add(const Outcome& other) {
  steps += other.steps;
  tokens += other.tokens;
  finished += other.finished;
  cancelled_in_flight += other.cancelled_in_flight;
  refused += other.refused;
  failed_steps += other.failed_steps;
  steps_ahead += other.steps_ahead;
  wasted_rows += other.wasted_rows;
  preemptions += other.preemptions;
  became_due += other.became_due;
  drafted += other.drafted;
  accepted += other.accepted;
  hit_tokens += other.hit_tokens;
  evicted_pages += other.evicted_pages;
  deduplicated_pages += other.deduplicated_pages;
  violations += other.violations;
  loaded_pages += other.loaded_pages;
  failed_copies += other.failed_copies;
  pinned_steps += other.pinned_steps;
}

Simulation::Simulation(const SimulationCase& simulated)
    : workload_(simulated),
      last_step_(simulated.steps),
      voice_{scenario().vocabulary, scenario().monotony},
      model_(scenario().cache.num_pages, scenario().cache.page_size, voice_),
      cache_(scenario().cache, TiersOf(scenario(), model_, simulated.seed)),
      scheduler_(scenario().scheduler, cache_, DraftsOf(scenario())),
      next_arrival_(workload_.arrivals().begin()),
      next_cancel_(workload_.cancels().begin()),
      writer_of_page_(scenario().cache.num_pages, -1) {}

Outcome Simulation::Run() {
  while (error_.empty() && outcome_.steps < last_step_ &&
         (!scheduler_.idle() || next_arrival_ != workload_.arrivals().end())) {
    if (scheduler_.idle()) {
      step_ = std::max(step_, next_arrival_->first.step);
    }
    ArriveAndCancel(false);
    WaitForTiers();
    if (!in_flight_) {
      std::optional<Step> step = scheduler_.Schedule(now_ms_);
      if (step.has_value() == live_.empty()) {
        Fail(StrCat(live_.size(), " requests are live, but a step was ", step ? "" : "not ",
                    "scheduled"));
      }
      if (step) {
        CheckStep(*step, false);
        Start(*std::move(step));
      }
    }
    if (in_flight_) {
      EndStep();
    } else {
      ArriveAndCancel(true);
    }
    CheckState();
    if (workload_.Violates(step_)) {
      Violate();
    }
    now_ms_ += workload_.MsOf(step_++);
  }
  for (const PinnedSession& pinned : cache_.Pins()) {
    cache_.Unpin(pinned.session);
  }
  const KvCacheStats stats = cache_.stats();
  if (scheduler_.idle() && stats.owned_pages != 0) {
    Fail(StrCat("at the end ", stats.owned_pages, " pages are owned"));
  }
  outcome_.preemptions = scheduler_.stats().preemptions;
  outcome_.drafted = scheduler_.stats().drafted;
  outcome_.accepted = scheduler_.stats().accepted;
  outcome_.hit_tokens = stats.hit_tokens;
  outcome_.evicted_pages = stats.evicted_pages;
  outcome_.deduplicated_pages = stats.deduplicated_pages;
  outcome_.loaded_pages = stats.loaded_pages;
  outcome_.failed_copies = stats.failed_copies;
  return outcome_;
}

// So that a seed replays.
void Simulation::WaitForTiers() {
  if (const Status tiers = cache_.WaitForTiers();
      !tiers.ok() && scenario().tier_failure_rate == 0) {
    Fail(tiers.message());
  }
}

void Simulation::Fail(const std::string& what) {
  if (error_.empty()) {
    error_ = StrCat("step ", outcome_.steps, ": ", what);
  }
}

void Simulation::ArriveAndCancel(bool in_flight) {
  const Moment now = {step_, in_flight};
  for (; next_arrival_ != workload_.arrivals().end() && next_arrival_->first <= now;
       ++next_arrival_) {
    Arrive(next_arrival_->second);
  }
  for (; next_cancel_ != workload_.cancels().end() && next_cancel_->first <= now; ++next_cancel_) {
    Cancel(next_cancel_->second);
  }
}

void Simulation::Arrive(int32_t number) {
  const RequestSpec spec = workload_.SpecOf(number, histories_);
  const bool refuse = ShouldBeRefused(spec);
  const Status status = scheduler_.Add(spec, now_ms_);
  if (status.ok() == refuse) {
    Fail(StrCat("request ", number, " was accepted or refused wrongly: ", status.message()));
  }
  if (!status.ok()) {
    ++outcome_.refused;
    return;
  }
  Expected expected{.num_prompt = static_cast<int32_t>(spec.prompt.size()),
                    .spec = spec,
                    .rank = RankOf(scenario().scheduler.queue_policy, spec, now_ms_, arrivals_++),
                    .last_step = std::nullopt};
  for (int32_t p = 0; p < expected.num_prompt; ++p) {
    expected.hash = ExtendHistory(expected.hash, p, spec.prompt[p]);
  }
  total_tokens_ += expected.num_prompt + spec.max_new_tokens;
  histories_[number] = spec.prompt;
  live_.emplace(number, std::move(expected));
}

void Simulation::Cancel(int32_t number) {
  const bool live = live_.erase(number) > 0;
  if (scheduler_.Cancel(static_cast<uint64_t>(number)) != live ||
      scheduler_.Cancel(static_cast<uint64_t>(number))) {
    Fail(StrCat("request ", number, " was cancelled wrongly or twice"));
  }
}

bool Simulation::ShouldBeRefused(const RequestSpec& spec) const {
  const SchedulerConfig& config = scenario().scheduler;
  const auto prompt = static_cast<int32_t>(spec.prompt.size());
  const int32_t total = std::min(prompt + spec.max_new_tokens, config.max_context);
  return prompt == 0 || prompt >= config.max_context || total - 1 > cache_.capacity_tokens() ||
         scheduler_.num_waiting() >= config.max_waiting;
}

void Simulation::Start(Step step) {
  in_flight_.emplace(Started{.step = std::move(step), .sampled = std::nullopt});
  if (!workload_.RunsLate(step_)) {
    SampledOf(*in_flight_);
  }
}

const std::vector<SampledToken>& Simulation::SampledOf(Started& started) {
  if (!started.sampled) {
    model_.Copy(started.step.copies);
    started.sampled = model_.Run(started.step);
  }
  return *started.sampled;
}

std::optional<Step> Simulation::FormAhead() {
  std::optional<Step> ahead = scheduler_.ScheduleAhead(in_flight_->step, now_ms_);
  WaitForTiers();  // what it would have begun, before the step in flight runs
  if (ahead) {
    ++outcome_.steps_ahead;
    for (const Step::Sequence& sequence : ahead->sequences) {
      if (!live_.contains(static_cast<int32_t>(sequence.id))) {
        Fail(StrCat("request ", sequence.id, " has ended and is in a step ahead"));
      }
    }
  }
  CheckState();
  return ahead;
}

// The step in flight ends; one that is formed ahead is started before it is committed, perhaps
// before it ends: then its rows run once it has, but what becomes of it no longer matters.
void Simulation::EndStep() {
  ++outcome_.steps;
  std::optional<Step> ahead = workload_.Overlaps(step_) ? FormAhead() : std::nullopt;
  const bool early = ahead && workload_.StartsEarly(step_);
  if (early) {
    scheduler_.StartAhead(*ahead);
  }
  const auto live = static_cast<int64_t>(live_.size());
  ArriveAndCancel(true);
  outcome_.cancelled_in_flight += live > static_cast<int64_t>(live_.size()) ? 1 : 0;
  Started ended = *std::exchange(in_flight_, std::nullopt);
  if (workload_.Fails(step_)) {
    model_.Copy(early ? ahead->copies : std::vector<PageCopy>());
    return Abandon(ended.step);
  }
  const std::vector<SampledToken>& sampled = SampledOf(ended);
  if (ahead) {
    if (!early) {
      scheduler_.StartAhead(*ahead);
    }
    scheduler_.FillTokens(*ahead, sampled);
    Start(*std::move(ahead));
  }
  Commit(ended.step, sampled);
  if (in_flight_) {
    CheckStep(in_flight_->step, true);
  }
}

void Simulation::Commit(const Step& step, const std::vector<SampledToken>& sampled) {
  for (const TokenEvent& event : scheduler_.Commit(step, sampled)) {
    if (event.token && event.token->token != sampled[event.sample].token) {
      Fail(StrCat("an event of request ", event.id, " names the wrong row"));
    }
    CheckEvent(event);
  }
}

void Simulation::Abandon(const Step& step) {
  ++outcome_.failed_steps;
  model_.Spoil(step);
  for (const TokenEvent& event : scheduler_.Abandon(step)) {
    if (event.finish_reason != FinishReason::kError || event.token ||
        live_.erase(static_cast<int32_t>(event.id)) != 1) {
      Fail(StrCat("wrong event for request ", event.id, " of a failed step"));
    }
  }
}

void Simulation::Violate() {
  ++outcome_.violations;
  cache_.Release(std::numeric_limits<KvSequenceId>::max());
  if (cache_.health().ok()) {
    Fail("a sequence that never was is released unnoticed");
  }
  CheckState();  // it has no effect but to be known
  in_flight_.reset();
  for (const TokenEvent& event : scheduler_.Reset()) {
    if (event.finish_reason != FinishReason::kError || event.token ||
        live_.erase(static_cast<int32_t>(event.id)) != 1) {
      Fail(StrCat("wrong event for request ", event.id, " as the cache is reset"));
    }
  }
  if (!live_.empty() || !cache_.health().ok() ||
      cache_.stats().free_pages != scenario().cache.num_pages) {
    Fail(StrCat("after a reset ", live_.size(), " requests are left and ",
                cache_.stats().free_pages, " pages free; ", cache_.health().message()));
  }
}

void Simulation::CheckEvent(const TokenEvent& event) {
  const auto it = live_.find(static_cast<int32_t>(event.id));
  if (it == live_.end() || !event.token) {
    Fail(StrCat("an event without a token or of a request that has ended, ", event.id));
    return;
  }
  Expected& expected = it->second;
  std::vector<int32_t>& history = histories_[it->first];
  const auto position = static_cast<int32_t>(history.size());
  const int32_t drawn = position - expected.num_prompt;
  const int32_t token =
      DrawToken(voice_, expected.hash, history.back(), expected.spec.sampling.seed, drawn);
  if (event.token->token != token || event.num_generated != drawn + 1) {
    Fail(StrCat("request ", event.id, " drew token ", event.token->token, " as its number ", drawn,
                "; alone it draws ", token));
    return;
  }
  history.push_back(token);
  expected.hash = ExtendHistory(expected.hash, position, token);
  ++outcome_.tokens;
  Digest(static_cast<uint64_t>(token));
  if (event.finish_reason != ExpectedFinish(expected, history)) {
    Fail(StrCat("request ", event.id, " ends wrongly or not at all after ", drawn + 1, " tokens"));
  }
  if (event.finish_reason) {
    ++outcome_.finished;
    live_.erase(it);
  }
}

std::optional<FinishReason> Simulation::ExpectedFinish(const Expected& expected,
                                                       const std::vector<int32_t>& history) const {
  const auto total = static_cast<int32_t>(history.size());
  const int32_t generated = total - expected.num_prompt;
  const bool stop_token = std::ranges::count(expected.spec.stop_token_ids, history.back()) > 0;
  if (stop_token && !expected.spec.ignore_eos && generated > expected.spec.min_tokens) {
    return FinishReason::kStop;
  }
  if (generated == expected.spec.max_new_tokens || total == scenario().scheduler.max_context) {
    return FinishReason::kLength;
  }
  return std::nullopt;
}

void Simulation::CheckState() {
  const KvCacheStats stats = cache_.stats();
  if (stats.free_pages + stats.cached_pages + stats.owned_pages + stats.in_transfer_pages !=
      scenario().cache.num_pages) {
    Fail(StrCat(stats.free_pages, " free + ", stats.cached_pages, " cached + ", stats.owned_pages,
                " owned + ", stats.in_transfer_pages, " pages in transfer of ",
                scenario().cache.num_pages));
  }
  if (const Status status = scheduler_.CheckInvariants(); !status.ok()) {
    Fail(status.message());
  }
  outcome_.pinned_steps += stats.pinned_pages > 0 ? 1 : 0;
  CheckStarvation();
}

// The bounds that scheduler/README.md states.
void Simulation::CheckStarvation() {
  const SchedulerConfig& config = scenario().scheduler;
  if (config.queue_policy == QueuePolicy::kArrival && outcome_.steps > total_tokens_) {
    Fail(StrCat("more than ", total_tokens_, " steps: somebody starves"));
  }
  for (auto& [number, expected] : live_) {
    if (!expected.last_step && expected.rank.due_ms <= now_ms_) {
      const auto before = std::ranges::count_if(
          live_, [&](const auto& other) { return other.second.rank < expected.rank; });
      expected.last_step =
          outcome_.steps + int64_t{before + 1} * (config.max_running + 2) * config.max_context;
      outcome_.became_due += config.queue_policy == QueuePolicy::kArrival ? 0 : 1;
    }
    if (expected.last_step && outcome_.steps > *expected.last_step) {
      Fail(StrCat("request ", number, " starves"));
    }
  }
}

}  // namespace quire
