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
  MeasureRun(state, cpu, implementation, problem.args);
  SetBytesAgainstLimit(state, cpu, problem.bytes());
}

// Registers "<op>/<case>/<implementation>". Returns true, for a constant.
template <typename Problem, typename Case, typename Args>
bool RegisterRowBenchmarks(std::string_view op, const std::vector<Case>& cases,
                           const ImplementationList<Args>& list) {
  return RegisterBenchmarks(op, cases, list, MeasureRows<Problem, Case>);
}

}  // namespace quire::ops
