// CPU time of one step beside the model: Schedule, which builds the batch, and Commit.
//
// `running` sequences decode, `queued` requests wait. In "full" no more may run; in "blocked" they
// may, but the first of the queue does not fit beside the others, so that admission looks at it in
// every step.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "scheduler/growth_forecast.h"
#include "scheduler/scheduler.h"

namespace quire {
namespace {

constexpr int32_t kPrompt = 512;

struct Mode {
  bool blocked;
  int32_t output;  // of each request
  int32_t steps;   // that can be timed before these are used up
};
constexpr Mode kFull = {.blocked = false, .output = 512, .steps = 500};
constexpr Mode kBlocked = {.blocked = true, .output = 64, .steps = 50};

RequestSpec Spec(uint64_t id, int32_t output) {
  RequestSpec spec;
  spec.id = id;
  spec.prompt.resize(kPrompt);
  std::iota(spec.prompt.begin(), spec.prompt.end(), static_cast<int32_t>(id));
  spec.max_new_tokens = output;
  return spec;
}

// A scheduler with `running` sequences that decode, whose pages are all that there are, and
// `queued` requests behind them.
struct Load {
  Load(const Mode& mode, int32_t running, int32_t queued, int32_t page_size)
      : cache({.page_size = page_size,
               .num_pages = running * CeilDiv(kPrompt + mode.output, page_size)}),
        scheduler({.max_running = mode.blocked ? running + 1 : running,
                   .step_token_budget = running * kPrompt + 1,
                   .max_prefill_chunk = kPrompt,
                   .max_context = 2 * kPrompt,
                   .max_waiting = running + queued},
                  cache) {
    for (int32_t i = 0; i < running + queued; ++i) {
      if (i == running) {
        RunStep();
        RunStep();
      }
      QUIRE_CHECK(scheduler.Add(Spec(static_cast<uint64_t>(i), mode.output), 0).ok());
    }
  }

  void RunStep() {
    const std::optional<Step> step = scheduler.Schedule(0);
    sampled.resize(step->batch.logit_rows.size());
    benchmark::DoNotOptimize(scheduler.Commit(*step, sampled));
  }

  KvCache cache;
  Scheduler scheduler;
  std::vector<SampledToken> sampled;
};

void Steps(benchmark::State& state, Mode mode) {
  const auto running = static_cast<int32_t>(state.range(0));
  const auto queued = static_cast<int32_t>(state.range(1));
  const auto page_size = static_cast<int32_t>(state.range(2));
  for (auto _ : state) {
    state.PauseTiming();
    auto load = std::make_unique<Load>(mode, running, queued, page_size);
    state.ResumeTiming();
    for (int32_t step = 0; step < mode.steps; ++step) {
      load->RunStep();
    }
    state.PauseTiming();
    QUIRE_CHECK_EQ(load->scheduler.num_running(), running);
    load.reset();
    state.ResumeTiming();
  }
  state.counters["step"] = benchmark::Counter(
      static_cast<double>(mode.steps),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  constexpr int64_t kPageSize = 64;
  benchmark->ArgNames({"running", "queued", "page"});
  for (const int64_t running : {1, 4, 16, 64, 256, 1024}) {
    benchmark->Args({running, 10'000, kPageSize});
  }
  for (const int64_t queued : {1, 10, 100, 1000, 100'000}) {
    benchmark->Args({256, queued, kPageSize});
  }
  for (const int64_t page_size : {1, 4, 16, 256}) {
    benchmark->Args({256, 10'000, page_size});
  }
  benchmark->Iterations(5)->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(Steps, full, kFull)->Apply(Sizes);
BENCHMARK_CAPTURE(Steps, blocked, kBlocked)->Apply(Sizes);

}  // namespace
}  // namespace quire
