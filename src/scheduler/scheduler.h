// Scheduler: which tokens of which requests the next step computes. A pure state machine: no
// threads, no time, no device, so a seed replays any run of it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_cache.h"
#include "scheduler/prefix_followers.h"
#include "scheduler/request.h"
#include "scheduler/step.h"

namespace quire {

struct SchedulerConfig {
  int32_t max_running = 64;         // sequences with pages at a time; at most the budget counts
  int32_t step_token_budget = 512;  // rows of a step
  int32_t max_prefill_chunk = 512;  // rows of one request in a step
  int32_t max_context = 2048;       // tokens of a request, prompt and generated
  int32_t max_waiting = 4096;       // requests in the queue

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
};

// Continuous batching in order of arrival. A step takes one row of each running request that only
// lacks its last token, then prefill chunks, then admits waiting requests, all oldest first, up to
// the token budget.
//
// Admission: a request starts when the pages of its whole prompt, and one page of growth for every
// running request that can still grow by one, can be had beside what running prefills still lack;
// when nothing runs it starts at once. A request whose next whole page is just being computed for
// another one waits for it.
// When pages run out: cached pages go first (KvCache), then the youngest running request is
// preempted for an older one; it keeps its place in the order of arrival. The oldest request can
// have every page, and Add refuses what could not fit alone, so every step computes at least one
// row of the oldest: no deadlock.
//
// A request is admitted only into a step that has a row for it and for all running ones that can
// have pages, so there are never more running requests than the budget has rows: decode rows always
// fit, and the oldest prefill always has a row beside them.
//
// One step is in flight at a time: Schedule, then Commit or Abandon. Add and Cancel are allowed in
// between. One thread at a time.
class Scheduler {
 public:
  // REQUIRES: config.Validate() is OK. `cache` outlives the scheduler, which alone starts sequences
  // in it.
  Scheduler(const SchedulerConfig& config, KvCache& cache);
  ~Scheduler();  // gives all pages back
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues a request. Errors: invalid_argument (RequestSpec::Validate; id in use; prompt and one
  // token longer than the context; a length that the whole pool cannot hold), unavailable (the
  // queue is full).
  Status Add(RequestSpec spec);

  // Ends a request; no event of it follows. Its pages are given back at once, or when the step in
  // flight that computes it is committed or abandoned. False if there is no such request.
  bool Cancel(uint64_t id);

  // The next step; none if no request is left. REQUIRES: no step is in flight.
  std::optional<Step> Schedule();

  // The step has run: its KV is written and `sampled` holds one token per entry of
  // batch.logit_rows. Returns one event per token of a request that is not cancelled, in the order
  // of the step.
  std::vector<TokenEvent> Commit(const Step& step, std::span<const SampledToken> sampled);

  // The step failed and its KV is unknown: its requests end with kError, nothing of it is shared.
  std::vector<TokenEvent> Abandon(const Step& step);

  int32_t num_waiting() const { return static_cast<int32_t>(waiting_.size()) + followers_.size(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  bool idle() const { return requests_.empty(); }
  SchedulerStats stats() const;
  const SchedulerConfig& config() const { return config_; }

  // The cache's invariants, and: each running request has a table of the right length, nobody else
  // holds pages. For tests and audits, with no step in flight. Errors: internal.
  Status CheckInvariants() const;

 private:
  struct Plan {
    std::vector<Request*> requests;  // each with its scheduled_rows() > 0
    int32_t rows = 0;
    bool preempted = false;
  };

  void PlanDecodes(Plan& plan);
  void PlanPrefills(Plan& plan);
  void Admit(Plan& plan);
  int32_t ChunkOf(const Request& request, const Plan& plan) const;
  // Extends the request's table by up to `rows`, preempting younger requests if it cannot have even
  // one, and plans what it got.
  void Grow(Request& request, int32_t rows, Plan& plan);
  void PreemptYoungest(Plan& plan);
  // The request of the plan that computes the page which `request` needs next, if any does.
  const Request* LeaderOf(const Request& request, int32_t matched, const Plan& plan) const;
  // The whole pages, in tokens, with which both begin and that the follower can take.
  int32_t SharedTokens(const Request& leader, const Request& follower) const;
  bool PagesSuffice(const Request& request, const KvCache::Prefix& prefix) const;
  // Pages that the request still needs: for its known tokens, and one to grow if it can.
  int32_t PagesToCome(const Request& request, int32_t pages_held) const;
  // Gives its pages back, with its place among the running ones.
  void LeaveRunning(Request& request);
  // The waiting requests that wait for `leader` alone queue up again.
  void ReleaseFollowers(const Request& leader);

  void StartRequest(Request& request);
  void EndStep(const Step& step);
  void PublishPages(const Request& request, int32_t new_rows);
  // Gives the request's pages back and forgets it.
  void Retire(Request& request);
  TokenEvent EventOf(const Request& request) const;

  SchedulerConfig config_;
  KvCache& cache_;
  std::unordered_map<uint64_t, std::unique_ptr<Request>> requests_;  // by id; not finished ones
  std::map<uint64_t, Request*> waiting_;                             // by arrival
  PrefixFollowers followers_;      // waiting too, until their leaders have computed what they share
  std::vector<Request*> running_;  // ascending arrival
  uint64_t next_arrival_ = 0;
  uint64_t serial_ = 0;
  bool step_in_flight_ = false;
  std::vector<Request*> in_flight_;  // of the step in flight, in its order
  // The request that did not fit the last time, with the prefix that it had; none once a request
  // has given pages back.
  struct Blocked {
    uint64_t id;
    KvCache::Prefix prefix;
  };
  std::optional<Blocked> blocked_;
  SchedulerStats totals_;  // the counters since the start
};

}  // namespace quire
