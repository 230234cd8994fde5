#include "simulation/scenario.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/strcat.h"
#include "simulation/dice.h"

namespace quire {

namespace {

constexpr uint64_t kAboutScenario = 100;

// Many long answers from short prompts at once, some of which end early: the running requests
// outgrow the forecast and the pool.
void AddPressure(Dice& dice, Scenario& s) {
  s.cache.page_size = std::min(s.cache.page_size, 16);
  s.cache.num_pages = dice.Skewed(4, 80);
  s.scheduler.max_running = dice.Skewed(3, 24);
  s.scheduler.step_token_budget += 4;
  const int32_t pool = s.cache.num_pages * s.cache.page_size;
  s.scheduler.max_context = std::max(2, pool / dice.Skewed(1, 4));
  s.longest_output = s.scheduler.max_context;
  s.longest_prompt = dice.Skewed(1, std::max(1, s.scheduler.max_context / 2));
  s.num_requests = dice.Uniform(40, 250);
  s.stop_rate = 0.5 + dice.Real(0.5);
  s.vocabulary = dice.Skewed(1, 30);
  s.add_rate = 5;
}

template <typename Number>
bool ParseNumber(const std::string& text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseField(const std::string& name, const std::string& value, SimulationCase& out) {
  if (name == "seed") return ParseNumber(value, out.seed);
  if (name == "prompt") return ParseNumber(value, out.longest_prompt);
  if (name == "output") return ParseNumber(value, out.longest_output);
  if (name == "steps") return ParseNumber(value, out.steps);
  if (name != "requests") return false;
  out.requests.emplace();
  std::istringstream numbers(value);
  for (std::string number; std::getline(numbers, number, ',');) {
    if (!ParseNumber(number, out.requests->emplace_back())) return false;
  }
  return true;
}

}  // namespace

std::string SimulationCase::Text() const {
  const SimulationCase all;
  std::string text = StrCat("seed=", seed);
  if (requests) {
    text += " requests=";
    for (size_t i = 0; i < requests->size(); ++i) {
      text += StrCat(i == 0 ? "" : ",", (*requests)[i]);
    }
  }
  if (longest_prompt != all.longest_prompt) text += StrCat(" prompt=", longest_prompt);
  if (longest_output != all.longest_output) text += StrCat(" output=", longest_output);
  if (steps != all.steps) text += StrCat(" steps=", steps);
  return text;
}

std::optional<SimulationCase> SimulationCase::Parse(const std::string& text) {
  SimulationCase result;
  std::istringstream fields(text);
  for (std::string field; fields >> field;) {
    const size_t equals = field.find('=');
    if (equals == std::string::npos ||
        !ParseField(field.substr(0, equals), field.substr(equals + 1), result)) {
      return std::nullopt;
    }
  }
  return result;
}

Scenario ScenarioOf(uint64_t seed) {
  Dice dice(seed, kAboutScenario);
  Scenario s;
  s.cache.page_size = 1 << dice.Uniform(0, 8);
  const int32_t pool_tokens = dice.Skewed(2, 1000);
  s.cache.num_pages = std::max(dice.Skewed(2, 8), pool_tokens / s.cache.page_size);
  s.cache.prefix_caching = dice.Chance(0.9);
  s.scheduler.max_running = dice.Skewed(1, 24);
  s.scheduler.step_token_budget = dice.Skewed(1, 256);
  s.scheduler.max_prefill_chunk = dice.Skewed(1, 256);
  const int32_t pool = s.cache.num_pages * s.cache.page_size;
  s.scheduler.max_context = dice.Skewed(2, std::max(8, std::min(600, pool + pool / 4)));
  s.scheduler.max_waiting = dice.Skewed(2, 64);
  s.vocabulary = dice.Skewed(1, 1000);
  s.num_requests = dice.Skewed(2, 120);
  // From requests that fill the pool alone to many that share it.
  const int32_t share = std::max(1, std::min(pool, s.scheduler.max_context) / dice.Skewed(1, 8));
  s.longest_prompt = dice.Skewed(1, share);
  s.longest_output = dice.Skewed(1, share);
  s.add_rate = dice.Chance(0.5) ? 5 : 0.05 + dice.Real(1.2);
  s.cancel_rate = dice.Chance(0.5) ? 0 : dice.Real(0.5);
  s.failure_rate = dice.Chance(0.8) ? 0 : dice.Real(0.1);
  s.repeat_rate = dice.Real(1);
  s.stop_rate = dice.Real(0.5);
  if (dice.Chance(0.5)) {
    AddPressure(dice, s);
  }
  constexpr QueuePolicy kPolicies[] = {QueuePolicy::kArrival, QueuePolicy::kPriority,
                                       QueuePolicy::kFair};
  s.scheduler.queue_policy = kPolicies[dice.Uniform(0, 2)];
  s.urgent_rate = s.scheduler.queue_policy == QueuePolicy::kArrival ? 0 : dice.Real(1);
  s.num_tenants = dice.Skewed(1, 8);
  s.ms_per_step = dice.Skewed(1, 20'000);
  s.speculates = dice.Chance(0.5);
  s.scheduler.max_draft_step_rows = dice.Skewed(1, 64);
  s.cache.partial_matches = dice.Chance(0.7);
  s.num_salts = dice.Chance(0.7) ? 1 : 3;
  s.violation_rate = dice.Chance(0.9) ? 0 : dice.Real(0.02);
  if (dice.Chance(0.1)) {  // rarely: each of their steps waits for another thread
    s.tier_slots = dice.Skewed(1, 64);
    s.tier_failure_rate = dice.Chance(0.5) ? 0 : dice.Real(0.2);
  }
  s.monotony = dice.Chance(0.5) ? 0 : 0.5 + dice.Real(0.5);
  s.overlaps = dice.Chance(0.5);
  if (s.cache.num_pages >= 4 && dice.Chance(0.3)) {
    s.cache.max_pinned_pages = dice.Skewed(1, s.cache.num_pages / 2);
  }
  return s;
}

}  // namespace quire
