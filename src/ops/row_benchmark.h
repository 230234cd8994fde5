// The benchmark of a row-wise operator: each implementation on each case, against the speed of
// copying as many bytes. Problem is that of row_conformance.h with
//
//   int64_t bytes() const;  // read and written once each
#pragma once

#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "ops/benchmark_limits.h"
#include "ops/conformance.h"

namespace quire::ops {

template <typename Problem, typename Case>
void MeasureRows(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  Problem problem(c, rng);
  problem.Reset();
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), problem.args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  SetBytesAgainstLimit(state, cpu, problem.bytes());
}

// Registers "<op>/<case>/<implementation>". Returns true, for a constant.
template <typename Problem, typename Case, typename Args>
bool RegisterRowBenchmarks(std::string_view op, const std::vector<Case>& cases,
                           const ImplementationList<Args>& list) {
  for (const Case& c : cases) {
    for (const Implementation<Args>& implementation : list) {
      const std::string name = StrCat(op, "/", c.name, "/", implementation.name);
      benchmark::RegisterBenchmark(name.c_str(), [c, &implementation](benchmark::State& state) {
        MeasureRows<Problem>(state, c, implementation.name);
      })->UseRealTime();
    }
  }
  return true;
}

}  // namespace quire::ops
