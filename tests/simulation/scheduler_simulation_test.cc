// Random workloads on the scheduler and the KV cache: every answer is what the request would get
// alone, every invariant holds after every step, everybody ends.
//
// QUIRE_SIMULATION_STEPS=1000000000 makes it a campaign; QUIRE_SIMULATION_CASE="seed=..." replays
// one case.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/log.h"
#include "base/test_seed.h"
#include "simulation/campaign.h"

namespace quire {
namespace {

int64_t StepsToRun() {
  const char* text = std::getenv("QUIRE_SIMULATION_STEPS");
  return text != nullptr ? std::strtoll(text, nullptr, 10) : QUIRE_SIMULATION_STEPS;
}

void Print(const Outcome& total) {
  const std::pair<const char*, int64_t> numbers[] = {
      {"steps", total.steps},
      {"tokens", total.tokens},
      {"finished", total.finished},
      {"cancelled in flight", total.cancelled_in_flight},
      {"refused", total.refused},
      {"failed steps", total.failed_steps},
      {"steps ahead", total.steps_ahead},
      {"wasted rows", total.wasted_rows},
      {"preemptions", total.preemptions},
      {"became due", total.became_due},
      {"drafted", total.drafted},
      {"drafts accepted", total.accepted},
      {"tokens hit", total.hit_tokens},
      {"pages evicted", total.evicted_pages},
      {"pages deduplicated", total.deduplicated_pages},
      {"violations", total.violations},
      {"pages loaded", total.loaded_pages},
      {"failed copies", total.failed_copies},
      {"steps with pins", total.pinned_steps},
  };
  for (const auto& [name, number] : numbers) {
    std::printf("%12lld %s\n", static_cast<long long>(number), name);
  }
}

TEST(SchedulerSimulation, EveryRequestAnswersAsIfAlone) {
  if (const char* text = std::getenv("QUIRE_SIMULATION_CASE")) {
    const auto simulated = SimulationCase::Parse(text);
    ASSERT_TRUE(simulated.has_value()) << text;
    Simulation simulation(*simulated);
    simulation.Run();
    EXPECT_EQ(simulation.error(), "");
    return;
  }
  SetLogLevel(LogLevel::kError);  // tiers fail on purpose
  const int processes = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const CampaignResult result = RunCampaign(TestSeed(), StepsToRun(), processes);
  Print(result.total);
  ASSERT_FALSE(result.failed.has_value())
      << result.error << "\nreplay with QUIRE_SIMULATION_CASE=\"" << result.failed->Text() << "\"";
  // The workloads reach what they are for.
  const int64_t share = result.total.steps / 1000;
  EXPECT_GT(result.total.finished, 10 * share);
  EXPECT_GT(result.total.cancelled_in_flight, share);
  EXPECT_GT(result.total.refused, 10 * share);
  EXPECT_GT(result.total.failed_steps, share);
  EXPECT_GT(result.total.steps_ahead, 100 * share);
  EXPECT_GT(result.total.wasted_rows, share);
  EXPECT_GT(result.total.preemptions, share / 2);
  EXPECT_GT(result.total.became_due, share);
  EXPECT_GT(result.total.drafted, 10 * share);
  EXPECT_GT(result.total.accepted, 10 * share);
  EXPECT_LT(result.total.accepted, result.total.drafted * 19 / 20);
  EXPECT_GT(result.total.hit_tokens, 100 * share);
  EXPECT_GT(result.total.evicted_pages, 10 * share);
  EXPECT_GT(result.total.deduplicated_pages, share);
  EXPECT_GT(result.total.violations, share / 10);
  EXPECT_GT(result.total.loaded_pages, share / 10);
  EXPECT_GT(result.total.failed_copies, share / 10);
  EXPECT_GT(result.total.pinned_steps, 10 * share);
}

TEST(SchedulerSimulation, SeedReplaysExactly) {
  const uint64_t seed = TestSeed();
  for (uint64_t i = 0; i < 20; ++i) {
    const SimulationCase simulated = {.seed = seed + i, .requests = std::nullopt};
    const Outcome first = Simulation(simulated).Run();
    const Outcome second = Simulation(simulated).Run();
    EXPECT_EQ(first.digest, second.digest) << "QUIRE_TEST_SEED=" << seed + i;
    EXPECT_EQ(first.steps, second.steps);
  }
}

TEST(SimulationCase, IsALineOfText) {
  const SimulationCase all = {.seed = 12, .requests = std::nullopt};
  EXPECT_EQ(all.Text(), "seed=12");
  const std::string text = "seed=12 requests=3,7 prompt=4 output=1 steps=99";
  const auto parsed = SimulationCase::Parse(text);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->Text(), text);
  EXPECT_FALSE(SimulationCase::Parse("seed=x").has_value());
  EXPECT_FALSE(SimulationCase::Parse("speed=3").has_value());
}

// A failure that needs two requests, one of them with a prompt of 2 tokens, and 17 steps.
TEST(SimulationCase, AFailingOneShrinksToWhatTheFailureNeeds) {
  uint64_t seed = 1;
  while (ScenarioOf(seed).num_requests < 40 || ScenarioOf(seed).longest_prompt < 10) {
    ++seed;
  }
  const auto fails = [](const SimulationCase& c) {
    const auto has = [&](int32_t number) {
      return !c.requests || std::ranges::count(*c.requests, number) > 0;
    };
    return has(5) && has(31) && c.longest_prompt >= 2 && c.steps >= 17;
  };
  const SimulationCase small = Shrink({.seed = seed, .requests = std::nullopt}, fails);
  EXPECT_EQ(small.Text(), StrCat("seed=", seed, " requests=5,31 prompt=2 output=1 steps=17"));
}

}  // namespace
}  // namespace quire
