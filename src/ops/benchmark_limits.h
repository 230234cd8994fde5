// What the benchmarks of the operators hold their figures against: this machine's own limits,
// measured in the same process on the same threads. For benchmarks only.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "ops/conformance.h"
#include "platform/cpu/cpu_limits.h"

namespace quire::ops {

// `bytes` of the device's memory, as the arrays of operators are aligned, of value `fill`.
inline Buffer FilledBuffer(CpuFixture& cpu, int64_t bytes, uint8_t fill) {
  Result<Buffer> buffer = cpu.device().Allocate(static_cast<size_t>(bytes));
  QUIRE_CHECK(buffer.ok()) << buffer.status().message();
  std::memset(buffer->data(), fill, buffer->bytes());
  return *std::move(buffer);
}

// Bytes per second, read and written together, of copying large arrays on `threads` threads: the
// best of several rounds, a tenth of a second in all.
inline double CopyBandwidth(CpuFixture& cpu) {
  ThreadPool& threads = cpu.stream().threads();
  double best = 0;
  constexpr size_t kBytes = size_t{64} << 20;
  constexpr int kParts = 64;
  const Buffer from = FilledBuffer(cpu, kBytes, 1);
  const Buffer to = FilledBuffer(cpu, kBytes, 2);
  for (int round = 0; round < 8; ++round) {
    const auto start = std::chrono::steady_clock::now();
    threads.ParallelFor(kParts, [&](int64_t part, int) {
      const size_t offset = static_cast<size_t>(part) * (kBytes / kParts);
      std::memcpy(static_cast<std::byte*>(to.data()) + offset,
                  static_cast<const std::byte*>(from.data()) + offset, kBytes / kParts);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * static_cast<double>(kBytes) / seconds.count());
  }
  return best;
}

// Sets the counters of a benchmark that must at least move `bytes` an iteration: bytes_per_second
// and of_copy, the share of CopyBandwidth(). What stays in the caches can exceed 1.
inline void SetBytesAgainstLimit(benchmark::State& state, CpuFixture& cpu, int64_t bytes) {
  state.SetBytesProcessed(state.iterations() * bytes);
  state.counters["of_copy"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(bytes) / CopyBandwidth(cpu),
      benchmark::Counter::kIsRate);
}

// Sets of_read: the share of ReadBandwidth() at which an iteration's `bytes` are read.
inline void SetReadsAgainstLimit(benchmark::State& state, CpuFixture& cpu, int64_t bytes) {
  const double read = static_cast<double>(state.iterations()) * static_cast<double>(bytes);
  state.counters["of_read"] =
      benchmark::Counter(read / ReadBandwidth(cpu.stream()), benchmark::Counter::kIsRate);
}

// Sets Gop/s, two operations for each of an iteration's `products`, and of_peak, their share of
// Int8Rate().
inline void SetProductsAgainstLimit(benchmark::State& state, CpuFixture& cpu, int64_t products) {
  const double ops = 2.0 * static_cast<double>(state.iterations()) * static_cast<double>(products);
  state.counters["Gop/s"] = benchmark::Counter(1e-9 * ops, benchmark::Counter::kIsRate);
  state.counters["of_peak"] =
      benchmark::Counter(ops / Int8Rate(cpu.stream()), benchmark::Counter::kIsRate);
}

// The loop of a benchmark: Run() of the operator of `args`, by the implementation of that name.
template <typename Args>
void MeasureRun(benchmark::State& state, CpuFixture& cpu, std::string_view implementation,
                const Args& args) {
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      return;
    }
  }
}

// Registers measure(state, case, implementation) as "<op>/<case>/<implementation>"; with
// is_small(case), the reference for small cases only. Returns true, for a constant.
template <typename Case, typename Args>
bool RegisterBenchmarks(std::string_view op, const std::vector<Case>& cases,
                        const ImplementationList<Args>& list,
                        void (*measure)(benchmark::State&, const Case&, std::string_view),
                        std::type_identity_t<bool (*)(const Case&)> is_small = nullptr) {
  for (const Case& c : cases) {
    for (const Implementation<Args>& implementation : list) {
      if (implementation.name == "reference" && is_small != nullptr && !is_small(c)) {
        continue;
      }
      const std::string name = StrCat(op, "/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [c, measure, name = implementation.name](
                                                     benchmark::State& state) {
        measure(state, c, name);
      })->UseRealTime();
    }
  }
  return true;
}

}  // namespace quire::ops
