#include "simulation/workload.h"

#include <algorithm>

#include "simulation/dice.h"

namespace quire {

namespace {

enum About : uint64_t {
  kTimes,
  kSpec,
  kPrompt,
  kFailures,
  kClock,
  kViolations,
  kOverlap,
  kLate,
  kEarly
};

}  // namespace

Workload::Workload(const SimulationCase& simulated)
    : case_(simulated), scenario_(ScenarioOf(simulated.seed)) {
  for (int32_t number = 1; number <= scenario_.num_requests; ++number) {
    if (case_.requests && std::ranges::find(*case_.requests, number) == case_.requests->end()) {
      continue;
    }
    Dice dice(case_.seed, kTimes, number);
    const auto step = static_cast<int64_t>(number / scenario_.add_rate) + dice.Uniform(0, 3);
    arrivals_.emplace(Moment{step, dice.Chance(0.5)}, number);
    if (dice.Chance(scenario_.cancel_rate)) {
      cancels_.emplace(Moment{step + dice.Skewed(1, 60), dice.Chance(0.5)}, number);
    }
  }
}

RequestSpec Workload::SpecOf(int32_t number,
                             const std::map<int32_t, std::vector<int32_t>>& histories) const {
  Dice dice(case_.seed, kSpec, number);
  RequestSpec spec;
  spec.id = static_cast<uint64_t>(number);
  spec.prompt = PromptOf(number, histories);
  spec.max_new_tokens = std::min(dice.Uniform(1, scenario_.longest_output), case_.longest_output);
  spec.min_tokens = dice.Chance(0.2) ? dice.Uniform(0, spec.max_new_tokens) : 0;
  spec.ignore_eos = dice.Chance(0.2);
  for (int32_t stops = dice.Chance(scenario_.stop_rate) ? dice.Uniform(1, 2) : 0; stops > 0;
       --stops) {
    spec.stop_token_ids.push_back(dice.Uniform(0, scenario_.vocabulary - 1));
  }
  spec.sampling.seed = static_cast<uint64_t>(dice.Uniform(0, 3));
  if (dice.Chance(scenario_.urgent_rate)) {
    spec.priority = dice.Uniform(kHighestPriority, kLowestPriority);
    spec.deadline_ms = dice.Chance(0.3) ? dice.Skewed(1, 200'000) : 0;
  }
  spec.tenant = StrCat("tenant ", dice.Uniform(1, scenario_.num_tenants));
  spec.cache_salt = static_cast<uint64_t>(dice.Uniform(1, scenario_.num_salts));
  if (scenario_.cache.max_pinned_pages > 0 && dice.Chance(0.5)) {
    spec.session = StrCat("session ", dice.Uniform(1, 3));
    spec.session_ttl_ms = dice.Skewed(1, 100 * scenario_.ms_per_step);
  }
  return spec;
}

std::vector<int32_t> Workload::PromptOf(
    int32_t number, const std::map<int32_t, std::vector<int32_t>>& histories) const {
  Dice dice(case_.seed, kPrompt, number);
  const int32_t longest = std::min(scenario_.longest_prompt, case_.longest_prompt);
  const int32_t length = std::min(dice.Skewed(1, scenario_.longest_prompt), longest);
  std::vector<int32_t> prompt;
  if (dice.Chance(scenario_.repeat_rate)) {
    const auto from = histories.find(dice.Uniform(std::max(1, number - 20), number));
    if (from != histories.end()) {
      prompt = from->second;
      // Often all of it, as the next turn of a conversation has.
      if (dice.Chance(0.5) || static_cast<int32_t>(prompt.size()) > longest) {
        prompt.resize(std::min<size_t>(prompt.size(), dice.Uniform(0, longest)));
      }
    }
  }
  while (static_cast<int32_t>(prompt.size()) < length) {
    prompt.push_back(dice.Uniform(0, scenario_.vocabulary - 1));
  }
  if (dice.Chance(0.01)) {
    prompt.clear();
  }
  return prompt;
}

bool Workload::Fails(int64_t step) const {
  return Dice(case_.seed, kFailures, static_cast<uint64_t>(step)).Chance(scenario_.failure_rate);
}

bool Workload::Violates(int64_t step) const {
  return Dice(case_.seed, kViolations, static_cast<uint64_t>(step))
      .Chance(scenario_.violation_rate);
}

bool Workload::Overlaps(int64_t step) const {
  return scenario_.overlaps && Dice(case_.seed, kOverlap, static_cast<uint64_t>(step)).Chance(0.9);
}

bool Workload::StartsEarly(int64_t step) const {
  return Dice(case_.seed, kEarly, static_cast<uint64_t>(step)).Chance(0.5);
}

bool Workload::RunsLate(int64_t step) const {
  return Dice(case_.seed, kLate, static_cast<uint64_t>(step)).Chance(0.7);
}

int64_t Workload::MsOf(int64_t step) const {
  return Dice(case_.seed, kClock, static_cast<uint64_t>(step))
      .Uniform(0, 2 * scenario_.ms_per_step);
}

}  // namespace quire
