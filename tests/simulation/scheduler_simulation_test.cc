// Random workloads on the scheduler and the KV cache: every answer is what the request would get
// alone, every invariant holds after every step, everybody ends.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>

#include "base/test_seed.h"
#include "simulation/simulation.h"

namespace quire {
namespace {

constexpr int64_t kSteps = 200'000;

TEST(SchedulerSimulation, EveryRequestAnswersAsIfAlone) {
  uint64_t seed = TestSeed();
  std::fflush(stdout);  // a failed check aborts: the seed must be out by then
  Outcome total;
  while (total.steps < kSteps) {
    const Outcome outcome = Simulation(seed).Run();
    ASSERT_EQ(outcome.error, "") << "replay with QUIRE_TEST_SEED=" << seed;
    total.steps += outcome.steps;
    total.tokens += outcome.tokens;
    total.finished += outcome.finished;
    total.cancelled_in_flight += outcome.cancelled_in_flight;
    total.refused += outcome.refused;
    total.preemptions += outcome.preemptions;
    total.cache.hit_tokens += outcome.cache.hit_tokens;
    total.cache.evicted_pages += outcome.cache.evicted_pages;
    total.cache.deduplicated_pages += outcome.cache.deduplicated_pages;
    ++seed;
  }
  std::printf(
      "%ld steps, %ld tokens, %ld finished, %ld cancelled in flight, %ld refused, %ld preempted, "
      "%ld tokens hit, %ld pages evicted, %ld deduplicated\n",
      total.steps, total.tokens, total.finished, total.cancelled_in_flight, total.refused,
      total.preemptions, total.cache.hit_tokens, total.cache.evicted_pages,
      total.cache.deduplicated_pages);
  // The workloads reach what they are for.
  EXPECT_GT(total.finished, 1000);
  EXPECT_GT(total.cancelled_in_flight, 100);
  EXPECT_GT(total.refused, 100);
  EXPECT_GT(total.preemptions, 1000);
  EXPECT_GT(total.cache.hit_tokens, 10'000);
  EXPECT_GT(total.cache.evicted_pages, 10'000);
  EXPECT_GT(total.cache.deduplicated_pages, 500);
}

TEST(SchedulerSimulation, SeedReplaysExactly) {
  const uint64_t seed = TestSeed();
  for (uint64_t i = 0; i < 20; ++i) {
    const Outcome first = Simulation(seed + i).Run();
    const Outcome second = Simulation(seed + i).Run();
    EXPECT_EQ(first.digest, second.digest) << "QUIRE_TEST_SEED=" << seed + i;
    EXPECT_EQ(first.steps, second.steps);
  }
}

}  // namespace
}  // namespace quire
