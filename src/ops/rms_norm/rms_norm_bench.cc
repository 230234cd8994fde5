#include <benchmark/benchmark.h>

#include <algorithm>

#include "ops/conformance.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rms_norm/rms_norm_cases.h"

namespace quire::ops::rms_norm {
namespace {

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  const int64_t rows = c.tokens * std::max<int64_t>(c.heads, 1);
  std::vector<float> x = RandomFloats(rng, rows * c.elements);
  std::vector<float> weight = RandomFloats(rng, c.elements);
  std::vector<float> out(x.size());
  const Args args = {.x = {x.data(), DType::kF32, {rows, c.elements}},
                     .weight = {weight.data(), DType::kF32, {c.elements}},
                     .out = {out.data(), DType::kF32, {rows, c.elements}},
                     .accumulate = c.accumulate};
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * rows * c.elements);
}

const bool kRegistered = [] {
  for (const Case& c : kCases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name = StrCat("rms_norm/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [&c, &implementation](benchmark::State& state) {
        Measure(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::rms_norm
