#include <benchmark/benchmark.h>

#include "ops/benchmark_limits.h"
#include "ops/speculative_sampling/speculative_problem.h"

namespace quire::ops::speculative_sampling {
namespace {

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  Problem problem(c, rng, 0);
  int64_t rows = 0;
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), problem.args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
    rows = std::accumulate(problem.accepted.begin(), problem.accepted.end(), c.sequences);
  }
  state.counters["accepted"] = static_cast<double>(rows - c.sequences) / (c.sequences * c.drafts);
  SetBytesAgainstLimit(state, cpu, rows * c.vocabulary * 4);  // the logits that count
}

const bool kRegistered = [] {
  static const std::vector<Case> cases = BenchmarkCases();
  for (const Case& c : cases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name = StrCat("speculative_sampling/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [&c, &implementation](benchmark::State& state) {
        Measure(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::speculative_sampling
