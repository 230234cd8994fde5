// What the benchmarks of the operators hold their figures against: this machine's own limits,
// measured in the same process on the same threads. For benchmarks only.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "ops/conformance.h"

namespace quire::ops {

// Bytes per second, read and written together, of copying large arrays on `threads` threads: the
// best of several rounds, a tenth of a second in all.
inline double CopyBandwidth(CpuFixture& cpu) {
  ThreadPool& threads = cpu.stream().threads();
  double best = 0;
  constexpr size_t kBytes = size_t{64} << 20;
  constexpr int kParts = 64;
  std::vector<uint8_t> from(kBytes, 1);
  std::vector<uint8_t> to(kBytes, 2);
  for (int round = 0; round < 8; ++round) {
    const auto start = std::chrono::steady_clock::now();
    threads.ParallelFor(kParts, [&](int64_t part, int) {
      const size_t offset = static_cast<size_t>(part) * (kBytes / kParts);
      std::memcpy(to.data() + offset, from.data() + offset, kBytes / kParts);
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

}  // namespace quire::ops
