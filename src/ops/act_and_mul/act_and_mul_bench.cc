#include <benchmark/benchmark.h>

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/act_and_mul/act_and_mul_cases.h"
#include "ops/conformance.h"

namespace quire::ops::act_and_mul {
namespace {

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  std::vector<float> gate_up = RandomFloats(rng, 2 * c.tokens * c.features);
  std::vector<float> out(gate_up.size() / 2);
  const Args args = {.gate_up = {gate_up.data(), DType::kF32, {c.tokens, 2 * c.features}},
                     .out = {out.data(), DType::kF32, {c.tokens, c.features}},
                     .activation = c.activation};
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * c.tokens * c.features);
}

const bool kRegistered = [] {
  for (const Case& c : kCases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name = StrCat("act_and_mul/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [&c, &implementation](benchmark::State& state) {
        Measure(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::act_and_mul
