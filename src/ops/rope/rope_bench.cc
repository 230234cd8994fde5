#include <benchmark/benchmark.h>

#include "ops/conformance.h"
#include "ops/rope/rope.h"
#include "ops/rope/rope_cases.h"

namespace quire::ops::rope {
namespace {

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  std::vector<float> x = RandomFloats(rng, c.tokens * c.heads * c.elements);
  std::vector<float> cos_sin(static_cast<size_t>(c.tokens * c.rotated));
  ComputeCosSin(RandomInts(rng, c.tokens, 0, 8000), RandomFloats(rng, c.rotated / 2), 1.0f,
                cos_sin.data());
  const Args args = {.x = {x.data(), DType::kF32, {c.tokens, c.heads, c.elements}},
                     .cos_sin = {cos_sin.data(), DType::kF32, {c.tokens, c.rotated / 2, 2}},
                     .style = c.style};
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * c.tokens * c.heads * c.rotated);
}

const bool kRegistered = [] {
  for (const Case& c : kCases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name = StrCat("rope/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [&c, &implementation](benchmark::State& state) {
        Measure(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::rope
