// Simulation: one random workload on a scheduler, a cache and a fake model, checked after every
// step.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kv_cache/kv_cache.h"
#include "scheduler/scheduler.h"
#include "simulation/fake_model.h"

namespace quire {

// Everything about a workload that its seed decides before the first step.
struct Scenario {
  KvCacheOptions cache;
  SchedulerConfig scheduler;
  int32_t vocabulary = 0;
  int32_t num_requests = 0;
  int32_t longest_prompt = 0;
  int32_t longest_output = 0;
  double add_rate = 0;      // requests per step
  double cancel_rate = 0;   // per step
  double failure_rate = 0;  // steps that break off
  double stop_rate = 0;     // requests with stop tokens
  double repeat_rate = 0;   // prompts that continue an earlier history
};

Scenario RandomScenario(std::mt19937_64& random);

// What happened, to show that the workloads reach the states they should, and that a seed replays
// exactly.
struct Outcome {
  std::string error;    // the first violation; empty if there was none
  uint64_t digest = 0;  // of every step and event
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t finished = 0;
  int64_t cancelled_in_flight = 0;
  int64_t refused = 0;
  int64_t preemptions = 0;
  KvCacheStats cache;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed);

  // Runs until all requests have ended, or to the first violation.
  Outcome Run();

 private:
  // A request, and what it must answer: what it would when served alone.
  struct Expected {
    std::vector<int32_t> history;  // prompt and tokens received
    int32_t num_prompt = 0;
    uint64_t hash = 0;  // of `history`
    uint64_t seed = 0;
    RequestSpec spec;
  };

  int32_t Uniform(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(random_); }
  void Fail(const std::string& what);

  void AddRequests();
  RequestSpec RandomRequest();
  std::vector<int32_t> RandomPrompt();
  bool ShouldBeRefused(const RequestSpec& spec) const;
  void CancelSome(const Step* in_flight);
  void RunStep(const Step& step);
  void CheckStep(const Step& step);
  void CheckWrites(const Batch& batch);
  void CheckEvent(const TokenEvent& event);
  std::optional<FinishReason> ExpectedFinish(const Expected& expected) const;
  void Digest(uint64_t value) { outcome_.digest = MixHash(outcome_.digest, value); }

  std::mt19937_64 random_;
  Scenario scenario_;
  KvCache cache_;
  Scheduler scheduler_;
  FakeModel model_;
  std::map<uint64_t, Expected> live_;
  std::vector<std::vector<int32_t>> histories_;  // of requests that have ended, to continue
  uint64_t next_id_ = 1;
  int64_t step_bound_ = 0;
  Outcome outcome_;
};

}  // namespace quire
