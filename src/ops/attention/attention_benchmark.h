// What the benchmarks of the attention operators share. Counters: bytes_per_second, of_copy and
// of_read count the keys and values that the sequences hold once a call; flops are those of the
// problem's visible pairs. A case walks over as many layers as a model has, so that the cache comes
// from where a real step finds it.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "ops/attention/attention_cases.h"
#include "ops/benchmark_limits.h"

namespace quire::ops::attention {

// `sequences` of `length` keys with `rows` rows each; the name says so.
inline Case WithSequences(Case shape, int sequences, int32_t length, int32_t rows) {
  shape.name +=
      rows == 1 ? StrCat("_decode_", sequences, "x", length) : StrCat("_prefill_", length);
  shape.lengths.assign(static_cast<size_t>(sequences), length);
  shape.rows.assign(static_cast<size_t>(sequences), rows);
  return shape;
}

// The shapes of real models.
inline Case SmolLm2Shape() {
  return {.name = "smollm2", .q_heads = 9, .kv_heads = 3};
}
inline Case Llama3Shape() {
  return {.name = "llama3", .q_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
}
inline Case Gemma3Shape() {
  return {.name = "gemma3", .q_heads = 4, .kv_heads = 1, .key_dim = 256, .value_dim = 256};
}

// Multiplications and additions of a causal problem.
inline double FlopsOf(const Case& c) {
  double pairs = 0;
  for (size_t b = 0; b < c.lengths.size(); ++b) {
    const double rows = c.rows[b];
    pairs += rows * (c.lengths[b] - rows) + rows * (rows + 1) / 2;
  }
  return 2 * pairs * c.q_heads * (c.key_dim + c.value_dim);
}

template <typename ArgsOf>
void Measure(benchmark::State& state, const Case& c, int layers, int threads,
             std::string_view implementation, const ArgsOf& args_of) {
  constexpr uint64_t kSeed = 7;
  CpuFixture cpu(threads);
  const std::vector<SequenceData> data = MakeSequences(c, kSeed);
  std::vector<std::unique_ptr<Memory>> memories;
  for (int layer = 0; layer < layers; ++layer) {
    memories.push_back(std::make_unique<Memory>(c, data, kSeed + static_cast<uint64_t>(layer)));
    memories.back()->MoveCache(cpu.device());
  }
  std::vector<decltype(args_of(c, *memories[0]))> calls;
  for (const std::unique_ptr<Memory>& memory : memories) {
    calls.push_back(args_of(c, *memory));
  }
  const OpContext context = cpu.Context(implementation);
  for (auto _ : state) {
    for (const auto& args : calls) {
      const Status status = Run(context, args);
      if (!status.ok()) {
        state.SkipWithError(status.message().c_str());
      }
    }
  }
  state.counters["flops"] =
      benchmark::Counter(FlopsOf(c) * layers, benchmark::Counter::kIsIterationInvariantRate);
  SetBytesAgainstLimit(state, cpu, memories[0]->KvBytes() * layers);
  SetReadsAgainstLimit(state, cpu, memories[0]->KvBytes() * layers);
}

// Registers "<op>/<case>/threads:<n>/<implementation>" for one and two threads and every
// implementation but the reference. Returns true, for a constant.
template <typename Args, typename ArgsOf>
bool RegisterBenchmarks(std::string_view op, const std::vector<Case>& cases, int layers,
                        const ImplementationList<Args>& list, const ArgsOf& args_of) {
  for (const Case& c : cases) {
    for (const int threads : {1, 2}) {
      for (const Implementation<Args>& implementation : list) {
        if (implementation.name == "reference") {
          continue;
        }
        const std::string name =
            StrCat(op, "/", c.name, "/threads:", threads, "/", implementation.name);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, &implementation](benchmark::State& state) {
                                       Measure(state, c, layers, threads, implementation.name,
                                               args_of);
                                     })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  return true;
}

}  // namespace quire::ops::attention
