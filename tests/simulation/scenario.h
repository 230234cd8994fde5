// SimulationCase: what is simulated, as one line of text. Scenario: the settings that its seed
// draws.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "kv_cache/kv_cache.h"
#include "scheduler/scheduler.h"

namespace quire {

// A seed is a whole workload. The other fields make less of it, to find out what a failure needs.
struct SimulationCase {
  uint64_t seed = 0;
  std::optional<std::vector<int32_t>> requests;  // only these, by number from 1
  int32_t longest_prompt = std::numeric_limits<int32_t>::max();
  int32_t longest_output = std::numeric_limits<int32_t>::max();
  int64_t steps = std::numeric_limits<int64_t>::max();  // stop then

  // "seed=7 requests=1,5 prompt=3 output=2 steps=40"; fields that limit nothing are left out.
  std::string Text() const;
  // nullopt if `text` is no such line.
  static std::optional<SimulationCase> Parse(const std::string& text);
};

struct Scenario {
  KvCacheOptions cache;
  SchedulerConfig scheduler;
  bool speculates = false;
  bool overlaps = false;  // steps are formed while others are in flight
  int32_t vocabulary = 0;
  int32_t num_requests = 0;
  int32_t longest_prompt = 0;
  int32_t longest_output = 0;
  int32_t num_tenants = 1;
  int32_t ms_per_step = 0;    // on average
  double add_rate = 0;        // requests per step
  double cancel_rate = 0;     // of the requests
  double failure_rate = 0;    // steps that break off
  double stop_rate = 0;       // requests with stop tokens
  double violation_rate = 0;  // steps after which a rule of the cache is broken
  int32_t num_salts = 1;
  int32_t tier_slots = 0;        // pages of a tier; 0 = there is none
  double tier_failure_rate = 0;  // copies to and from it that fail
  double repeat_rate = 0;        // prompts that continue an earlier history
  double urgent_rate = 0;        // requests with a priority or a deadline
  double monotony = 0;           // tokens that follow from the last one alone, so that text repeats
};

Scenario ScenarioOf(uint64_t seed);

}  // namespace quire
