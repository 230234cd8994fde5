#include <benchmark/benchmark.h>

#include "ops/reshape_and_cache/reshape_and_cache_cases.h"

namespace quire::ops::reshape_and_cache {

namespace {

void Write(benchmark::State& state, std::string_view implementation) {
  Case problem{.name = "bench", .tokens = static_cast<int32_t>(state.range(0))};
  CpuFixture cpu(static_cast<int>(state.range(1)));
  Problem memory(problem, 1);
  const OpContext context = cpu.Context(implementation);
  const Args args = memory.args();
  for (auto _ : state) {
    const Status status = reshape_and_cache::Run(context, args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
    }
  }
  const int64_t elements = 2 * args.key.shape().elements();
  state.SetBytesProcessed(state.iterations() *
                          (elements * 4 + BytesOf(problem.cache_type, elements)));
}

void Arguments(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"tokens", "threads"})
      ->UseRealTime()
      ->Args({1, 1})
      ->Args({32, 2})
      ->Args({512, 1})
      ->Args({512, 2});
}

BENCHMARK_CAPTURE(Write, best, "")->Apply(Arguments);
BENCHMARK_CAPTURE(Write, baseline, "baseline")->Apply(Arguments);

}  // namespace

}  // namespace quire::ops::reshape_and_cache
