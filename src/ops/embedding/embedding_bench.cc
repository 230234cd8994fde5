#include <benchmark/benchmark.h>

#include "ops/conformance.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_cases.h"

namespace quire::ops::embedding {
namespace {

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  std::vector<uint8_t> table(static_cast<size_t>(BytesOf(c.dtype, c.vocabulary * c.elements)),
                             0x3c);
  const std::vector<int32_t> tokens =
      RandomInts(rng, c.tokens, 0, static_cast<int32_t>(c.vocabulary - 1));
  std::vector<float> out(static_cast<size_t>(c.tokens * c.elements));
  const Args args = {.tokens = tokens,
                     .table = {table.data(), c.dtype, {c.vocabulary, c.elements}},
                     .out = {out.data(), DType::kF32, {c.tokens, c.elements}},
                     .scale = c.scale};
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * c.tokens * c.elements);
}

const bool kRegistered = [] {
  for (const Case& c : kCases) {
    for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
      const std::string name = StrCat("embedding/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [&c, &implementation](benchmark::State& state) {
        Measure(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace quire::ops::embedding
