// Scheduler: which tokens of which requests the next step computes. A pure state machine: no
// threads, no clock, no device, so a seed replays any run of it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_cache.h"
#include "scheduler/draft_source.h"
#include "scheduler/growth_forecast.h"
#include "scheduler/prefix_followers.h"
#include "scheduler/queue_order.h"
#include "scheduler/request.h"
#include "scheduler/step.h"

namespace quire {

struct SchedulerConfig {
  int32_t max_running = 64;         // sequences with pages at a time; at most the budget counts
  int32_t step_token_budget = 512;  // rows of a step
  int32_t max_prefill_chunk = 512;  // rows of one request in a step
  int32_t max_context = 2048;       // tokens of a request, prompt and generated
  int32_t max_waiting = 4096;       // requests in the queue
  QueuePolicy queue_policy = QueuePolicy::kArrival;
  // Drafts are verified while a step has no more rows than this: so many cost little more than one.
  int32_t max_draft_step_rows = 8;

  // Errors: invalid_argument naming the field and its value.
  Status Validate() const;
};

struct SchedulerStats {
  int32_t num_waiting = 0;  // preempted ones included
  int32_t num_running = 0;
  // Since the start:
  int64_t steps = 0;
  int64_t computed_rows = 0;
  int64_t preemptions = 0;
  int64_t finished = 0;  // cancelled and failed ones included
  int64_t drafted = 0;   // tokens proposed and verified
  int64_t accepted = 0;  // of those, right
};

// Continuous batching. A step takes one row of each running request that only lacks its last token,
// then prefill chunks, both in order of rank (RankOf), then admits waiting requests in the order of
// the queue (QueueOrder), up to the token budget. What is left of max_draft_step_rows goes to
// drafts.
//
// Admission: a request starts when the pages suffice for the forecast peak of all that run and of
// itself (GrowthForecast); when nothing runs it starts at once. A request whose next whole page is
// just being computed for another one follows that one (PrefixFollowers).
// What a tier of the cache has of the next request is brought back before it starts; nobody waits
// for that who runs.
// When pages run out: cached pages go first (KvCache), then the running request of the last rank is
// preempted for one before it (ChooseVictim) and queues again with its rank. The first by rank can
// have every page, and Add refuses what could not fit alone, so every step computes at least one
// row of the first that runs: no deadlock.
//
// A request is admitted only into a step that has a row for it and for all running ones that can
// have pages, so there are never more running requests than the budget has rows: decode rows always
// fit, and the oldest prefill always has a row beside them.
//
// A step is formed (Schedule), runs, and ends (Commit or Abandon). While it runs, the next can be
// formed (ScheduleAhead) and started (StartAhead) where the device itself can hand on the tokens
// drawn; else it is started once they are known (FillTokens), before the first one is committed. So
// at most two steps are in flight; steps start, run and end in the order in which they are formed.
// Add and Cancel are allowed at any time. One thread at a time.
class Scheduler {
 public:
  // REQUIRES: config.Validate() is OK. `cache` outlives the scheduler, which alone starts sequences
  // in it. With `drafts` it speculates; answers are the same.
  Scheduler(const SchedulerConfig& config, KvCache& cache,
            std::unique_ptr<DraftSource> drafts = nullptr);
  ~Scheduler();  // gives all pages back
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues a request. `now_ms` is any clock that does not go back. Errors: invalid_argument
  // (RequestSpec::Validate; id in use; prompt and one token longer than the context; a length that
  // the whole pool cannot hold; a priority or deadline where requests go by arrival),
  // resource_exhausted (the queue is full).
  Status Add(RequestSpec spec, int64_t now_ms);

  // Ends a request; no event of it follows. Its pages are given back at once, or when the last step
  // in flight that computes it is committed or abandoned. False if there is no such request.
  bool Cancel(uint64_t id);

  // The next step; none if no request is left, or if none can have a row because a rule of the
  // cache was broken (KvCache::health): then call Reset. REQUIRES: no step is in flight.
  std::optional<Step> Schedule(int64_t now_ms);

  // The step behind `running`, the only one in flight, formed as if each request that draws in that
  // drew a token that does not end it. None if what `running` brings decides its form: if it may
  // have drafts, if a request can have no page before another ends or is preempted, if pages must
  // come from a tier (which copies beside the steps); or if there is nothing to do. Then commit
  // `running` and call Schedule. REQUIRES: called once for each step.
  std::optional<Step> ScheduleAhead(const Step& running, int64_t now_ms);
  // Says that `ahead` is being started: gives it its copies.
  void StartAhead(Step& ahead);
  // Completes `ahead`, which has been or will be started: `sampled` are the tokens of the step
  // before, which is still to be committed. Not called if that is abandoned.
  void FillTokens(Step& ahead, std::span<const SampledToken> sampled);

  // The first step in flight has run: its KV is written and `sampled` holds one token per entry of
  // batch.logit_rows. Returns one event per token, in the order of the step, of requests that are
  // not cancelled; tokens behind a wrong draft have none. What the step behind it computes of a
  // request that ends here is dropped.
  std::vector<TokenEvent> Commit(const Step& step, std::span<const SampledToken> sampled);

  // The first step in flight failed and its KV is unknown: its requests end with kError, nothing of
  // it is shared. A step that was formed behind it is forgotten.
  std::vector<TokenEvent> Abandon(const Step& step);

  // Ends all requests with kError and resets the cache: after a violation of its rules
  // (KvCache::health). REQUIRES: no step runs; those that were scheduled are forgotten.
  std::vector<TokenEvent> Reset();

  int32_t num_waiting() const { return queue_->size() + followers_.size(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  bool idle() const { return requests_.empty(); }
  SchedulerStats stats() const;
  const SchedulerConfig& config() const { return config_; }

  // The cache's invariants, and: each running request has a table of the right length, nobody else
  // holds pages. For tests and audits. Errors: internal.
  Status CheckInvariants() const;

 private:
  struct Plan {
    std::vector<Request*> requests;  // each with its scheduled_rows() > 0
    int32_t rows = 0;
    bool preempted = false;
    bool ahead = false;          // a step is in flight
    bool needs_outcome = false;  // the form of this one depends on what that brings
  };
  struct InFlight {
    uint64_t serial = 0;
    std::vector<Request*> requests;  // in the order of the step
  };

  Plan PlanRows(int64_t now_ms, bool ahead);
  void PlanDecodes(Plan& plan);
  void PlanPrefills(Plan& plan);
  void Admit(Plan& plan, int64_t now_ms);
  int32_t ChunkOf(const Request& request, const Plan& plan) const;
  // Extends the request's table by up to `rows`, preempting requests that rank after it if it
  // cannot have even one, and plans what it got. Ahead nobody is preempted: then it needs the
  // outcome.
  void Grow(Request& request, int32_t rows, Plan& plan);
  void Preempt(Request& victim, Plan& plan);
  // The request of the plan or of a step in flight that computes the page which `request` needs
  // next, if any does.
  const Request* LeaderOf(const Request& request, int32_t matched, const Plan& plan) const;
  // The whole pages, in tokens, with which both begin and that the follower can take.
  int32_t SharedTokens(const Request& leader, const Request& follower) const;
  // Adds drafts to decode rows, as far as rows and free pages that nobody else needs now go.
  void PlanDrafts(Plan& plan);
  // Whether the pages for the request and for all that run suffice to the forecast ends.
  bool PagesSuffice(const Request& request, const KvCache::Prefix& prefix);
  void ForecastRunning();
  // Gives its pages back, with its place among the running ones.
  void LeaveRunning(Request& request);
  // The waiting requests that wait for `leader` alone queue up again.
  void ReleaseFollowers(const Request& leader);

  void StartRequest(Request& request);
  // The step of the plan, in flight from now on, without its copies.
  Step Form(Plan plan);
  // The rows of the plan are taken back.
  void Withdraw(std::span<Request* const> requests);
  // The step in flight that was formed first has ended; returns its requests.
  std::vector<Request*> EndStep(const Step& step);
  // Its `rows` rows are computed; `accepted` are the tokens drawn that count, from number `first`
  // on.
  void CommitRows(Request& request, int32_t rows, std::span<const SampledToken> accepted,
                  size_t first, std::vector<TokenEvent>& events);
  void PublishPages(const Request& request, int32_t new_rows);
  void PinForSession(const Request& request);
  // If the request has ended and no step in flight has rows of it, gives its pages back and forgets
  // it.
  void RetireIfDone(Request& request);
  TokenEvent EventOf(const Request& request) const;

  SchedulerConfig config_;
  KvCache& cache_;
  std::unique_ptr<DraftSource> drafts_;                              // may be nullptr
  std::unordered_map<uint64_t, std::unique_ptr<Request>> requests_;  // by id; not finished ones
  std::unique_ptr<QueueOrder> queue_;                                // of those that wait
  PrefixFollowers followers_;      // waiting too, until their leaders have computed what they share
  std::vector<Request*> running_;  // ascending rank
  uint64_t next_arrival_ = 0;
  uint64_t serial_ = 0;
  std::deque<InFlight> in_flight_;  // at most two, in the order of their forming
  GrowthForecast forecast_;
  // Of the running requests, for PeakPages, with the pages available when it was made; made by the
  // first request of a step that would start.
  std::vector<Growth> growths_;
  int32_t available_pages_ = 0;
  std::optional<uint64_t> blocked_;  // the request that did not fit when pages last came back
  SchedulerStats totals_;            // the counters since the start
};

}  // namespace quire
