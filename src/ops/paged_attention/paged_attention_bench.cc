// Counters: kv_bytes_per_second counts the keys and values that the sequences hold once per call;
// flops are those of the causal problem. Decode cases walk over as many layers as the model has, so
// that the cache comes from where a real step finds it.
#include <benchmark/benchmark.h>

#include "ops/paged_attention/paged_attention_cases.h"

namespace quire::ops::paged_attention {

namespace {

constexpr uint64_t kSeed = 7;

void RunCase(benchmark::State& state, Case problem, int layers, std::string_view implementation) {
  problem.page_size = static_cast<int>(state.range(2));
  CpuFixture cpu(static_cast<int>(state.range(1)));
  const std::vector<SequenceData> data = MakeSequences(problem, kSeed);
  std::vector<std::unique_ptr<Problem>> problems;
  for (int layer = 0; layer < layers; ++layer) {
    problems.push_back(
        std::make_unique<Problem>(problem, data, kSeed + static_cast<uint64_t>(layer)));
  }
  const OpContext context = cpu.Context(implementation);
  for (auto _ : state) {
    for (const std::unique_ptr<Problem>& layer : problems) {
      const Status status = Run(context, layer->args());
      if (!status.ok()) {
        state.SkipWithError(status.message().c_str());
      }
    }
  }
  double pairs = 0;
  for (size_t b = 0; b < problem.lengths.size(); ++b) {
    const double rows = problem.rows[b];
    pairs += rows * (problem.lengths[b] - rows) + rows * (rows + 1) / 2;
  }
  const double flops = 4 * pairs * problem.q_heads * problem.head_dim;
  using benchmark::Counter;
  state.counters["kv_bytes_per_second"] = Counter(
      static_cast<double>(problems[0]->KvBytes() * layers), Counter::kIsIterationInvariantRate);
  state.counters["flops"] = Counter(flops * layers, Counter::kIsIterationInvariantRate);
}

void Decode(benchmark::State& state, Case shape, int layers, std::string_view implementation) {
  shape.lengths = {static_cast<int32_t>(state.range(0))};
  shape.rows = {1};
  RunCase(state, shape, layers, implementation);
}

void DecodeMany(benchmark::State& state, Case shape, int layers, std::string_view implementation) {
  shape.lengths.assign(32, static_cast<int32_t>(state.range(0)));
  shape.rows.assign(32, 1);
  RunCase(state, shape, layers, implementation);
}

void Prefill(benchmark::State& state, Case shape, std::string_view implementation) {
  shape.lengths = {static_cast<int32_t>(state.range(0))};
  shape.rows = shape.lengths;
  RunCase(state, shape, 1, implementation);
}

void DecodeArgs(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"context", "threads", "page"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const int64_t context : {512, 2048, 8192}) {
    bench->Args({context, 1, 16})->Args({context, 2, 16});
  }
  bench->Args({2048, 2, 1})->Args({2048, 2, 64});
}

void PrefillArgs(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"context", "threads", "page"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const int64_t context : {512, 2048}) {
    bench->Args({context, 1, 16})->Args({context, 2, 16});
  }
}

BENCHMARK_CAPTURE(Decode, smollm2, SmolLm2Shape(), 30, "")->Apply(DecodeArgs);
BENCHMARK_CAPTURE(Decode, gemma3, Gemma3Shape(), 18, "")->Apply(DecodeArgs);
BENCHMARK_CAPTURE(Decode, smollm2_avx2, SmolLm2Shape(), 30, "avx2")->Apply(DecodeArgs);
BENCHMARK_CAPTURE(Decode, smollm2_baseline, SmolLm2Shape(), 30, "baseline")->Apply(DecodeArgs);
BENCHMARK_CAPTURE(DecodeMany, smollm2, SmolLm2Shape(), 2, "")
    ->ArgNames({"context", "threads", "page"})
    ->Args({512, 2, 16})
    ->UseRealTime();
BENCHMARK_CAPTURE(Prefill, smollm2, SmolLm2Shape(), "")->Apply(PrefillArgs);
BENCHMARK_CAPTURE(Prefill, gemma3, Gemma3Shape(), "")->Apply(PrefillArgs);
BENCHMARK_CAPTURE(Prefill, smollm2_avx2, SmolLm2Shape(), "avx2")->Apply(PrefillArgs);
BENCHMARK_CAPTURE(Prefill, smollm2_baseline, SmolLm2Shape(), "baseline")->Apply(PrefillArgs);

}  // namespace

}  // namespace quire::ops::paged_attention
