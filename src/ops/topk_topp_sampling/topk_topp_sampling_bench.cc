#include <benchmark/benchmark.h>

#include "ops/benchmark_limits.h"
#include "ops/topk_topp_sampling/sampling_problem.h"

namespace quire::ops::topk_topp_sampling {
namespace {

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  Problem problem(c, rng, 0);
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), problem.args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
    for (int64_t& position : problem.positions) {
      ++position;
    }
  }
  state.SetItemsProcessed(state.iterations() * c.rows);
  SetBytesAgainstLimit(state, cpu, c.rows * c.vocabulary * 4);
}

const bool kRegistered = [] {
  static const std::vector<Case> cases = ModelCases();
  for (const Case& c : cases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name = StrCat("topk_topp_sampling/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [&c, &implementation](benchmark::State& state) {
        Measure(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::topk_topp_sampling
