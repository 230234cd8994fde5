// Simulation: one random workload on a scheduler, a cache and a fake model, checked after every
// step.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kv_cache/kv_cache.h"
#include "scheduler/scheduler.h"
#include "simulation/fake_model.h"
#include "simulation/workload.h"

namespace quire {

// What happened, to show that the workloads reach the states they should, and that a seed replays
// exactly. Numbers only, so that a process can hand it to another.
struct Outcome {
  uint64_t digest = 0;  // of every step and event
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t finished = 0;
  int64_t cancelled_in_flight = 0;
  int64_t refused = 0;
  int64_t failed_steps = 0;
  int64_t steps_ahead = 0;  // formed while another was in flight
  int64_t wasted_rows = 0;  // of these, of requests that had ended
  int64_t preemptions = 0;
  int64_t became_due = 0;  // requests that waited until they were due
  int64_t drafted = 0;
  int64_t accepted = 0;
  int64_t hit_tokens = 0;
  int64_t evicted_pages = 0;
  int64_t deduplicated_pages = 0;
  int64_t violations = 0;
  int64_t loaded_pages = 0;  // from a tier
  int64_t failed_copies = 0;
  int64_t pinned_steps = 0;  // after which a session had pages pinned

  void Add(const Outcome& other);
};

class Simulation {
 public:
  explicit Simulation(const SimulationCase& simulated);

  // Runs until all requests have ended, the case's last step, or the first violation.
  Outcome Run();
  // The first violation; empty if there was none.
  const std::string& error() const { return error_; }

 private:
  // A request, and what it must answer: what it would when served alone.
  struct Expected {
    int32_t num_prompt = 0;
    uint64_t hash = 0;  // of its history
    RequestSpec spec;
    Rank rank;
    std::optional<int64_t> last_step;  // set once it is due: it ends by then
  };

  void Fail(const std::string& what);
  void ArriveAndCancel(bool in_flight);
  void Arrive(int32_t number);
  void Cancel(int32_t number);
  bool ShouldBeRefused(const RequestSpec& spec) const;
  // A step in flight, and what it drew once it has run.
  struct Started {
    Step step;
    std::optional<std::vector<SampledToken>> sampled;
  };
  void Start(Step step);
  const std::vector<SampledToken>& SampledOf(Started& started);
  std::optional<Step> FormAhead();
  void WaitForTiers();
  void EndStep();
  void Commit(const Step& step, const std::vector<SampledToken>& sampled);
  void Abandon(const Step& step);
  void Violate();
  // A step formed ahead may have rows of requests that have ended since.
  void CheckStep(const Step& step, bool ahead);
  bool RowsAreRight(const Step& step, int32_t b, size_t first_sample) const;
  void CheckWrites(const Batch& batch);
  void CheckEvent(const TokenEvent& event);
  void CheckState();
  void CheckStarvation();
  std::optional<FinishReason> ExpectedFinish(const Expected& expected,
                                             const std::vector<int32_t>& history) const;
  void Digest(uint64_t value) { outcome_.digest = MixHash(outcome_.digest, value); }
  const Scenario& scenario() const { return workload_.scenario(); }

  Workload workload_;
  int64_t last_step_;
  Voice voice_;
  FakeModel model_;
  KvCache cache_;  // its tiers copy the model's pages
  Scheduler scheduler_;
  std::multimap<Moment, int32_t>::const_iterator next_arrival_;
  std::multimap<Moment, int32_t>::const_iterator next_cancel_;
  std::map<int32_t, std::vector<int32_t>> histories_;  // prompt and tokens received, by number
  std::map<int32_t, Expected> live_;
  std::optional<Started> in_flight_;
  std::vector<int32_t> writer_of_page_;  // in the step being checked
  int64_t step_ = 0;                     // of the clock; idle ones included
  int64_t now_ms_ = 0;
  int64_t total_tokens_ = 0;  // of all accepted requests
  uint64_t arrivals_ = 0;
  std::string error_;
  Outcome outcome_;
};

}  // namespace quire
