// Speed of routing with the settings of known models.
#include <benchmark/benchmark.h>

#include "ops/benchmark_limits.h"
#include "ops/moe_route/moe_route_cases.h"

namespace quire::ops::moe_route {
namespace {

void BM_MoeRoute(benchmark::State& state, Case c, const std::string& implementation) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem(c, rng);
  const OpContext context = cpu.Context(implementation);
  for (auto _ : state) {
    QUIRE_CHECK(Run(context, problem.args).ok());
  }
  SetBytesAgainstLimit(state, cpu, c.tokens * (c.experts * 4 + c.k * 8));
  state.SetItemsProcessed(state.iterations() * c.tokens);
}

const bool kRegistered = [] {
  const Case cases[] = {
      {"deepseek_v3", 256, 256, 8, Scoring::kSigmoid, true, true, 8, 4, 2.5f},
      {"qwen3", 256, 128, 8, Scoring::kSoftmax, true},
      {"mixtral", 256, 8, 2, Scoring::kTopKSoftmax},
  };
  for (const Case& c : cases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name(implementation.name);
      benchmark::RegisterBenchmark(StrCat("moe_route/", c.name, "/", name).c_str(), BM_MoeRoute, c,
                                   name);
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::moe_route
