// Speed of the experts' feed-forward. GB/s counts the packed bytes of the experts that are used: at
// few tokens reading them is the limit.
#include <benchmark/benchmark.h>

#include <set>

#include "ops/benchmark_limits.h"
#include "ops/moe/moe_cases.h"

namespace quire::ops::moe {
namespace {

void MeasureMoe(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  Problem problem(cpu.Context(), c, rng);
  const OpContext context = cpu.Context(implementation);
  for (auto _ : state) {
    QUIRE_CHECK(Run(context, problem.args).ok());
  }
  const std::set<int32_t> used(problem.ids.begin(), problem.ids.end() - 1);
  size_t bytes = 0;
  for (const int32_t id : used) {
    const Expert& expert = problem.experts[static_cast<size_t>(id)];
    bytes += expert.gate_up->bytes() + expert.down->bytes();
  }
  SetBytesAgainstLimit(state, cpu, static_cast<int64_t>(bytes));
  state.SetItemsProcessed(state.iterations() * c.tokens);
}

const bool kRegistered = [] {
  for (const int64_t tokens : {1, 32, 256}) {
    const Case c{.name = StrCat("t", tokens),
                 .tokens = tokens,
                 .k = 4,
                 .experts = 16,
                 .hidden = 1024,
                 .features = 512,
                 .kind = "awq",
                 .mode = linear::ActivationMode::kBlock8};
    const std::string_view implementation = ImplementationsOf(PlatformKind::kCpu)[0].name;
    const std::string name = StrCat("moe/int4_16_experts_", c.name, "/", implementation);
    benchmark::RegisterBenchmark(name.c_str(), [c, implementation](benchmark::State& state) {
      MeasureMoe(state, c, implementation);
    })->UseRealTime();
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::moe
