#include "ops/benchmark_limits.h"
#include "ops/cast/cast_cases.h"

namespace quire::ops::cast {
namespace {

// Arrays of 64 Mi elements, far beyond the caches, and a decode step's worth.
std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  for (const auto& [from, to] : {std::pair{DType::kF32, DType::kF16},
                                 {DType::kF32, DType::kBF16},
                                 {DType::kF16, DType::kF32},
                                 {DType::kBF16, DType::kF16},
                                 {DType::kF16, DType::kF8E4M3},
                                 {DType::kF8E4M3, DType::kBF16},
                                 {DType::kF16, DType::kF16}}) {
    const std::string types = StrCat(InfoOf(from).name, "_to_", InfoOf(to).name);
    cases.push_back({StrCat(types, "/large"), 16384, 4096, from, to});
    cases.push_back({StrCat(types, "/small"), 1, 4096, from, to});
  }
  cases.push_back({.name = "f32_to_f8e4m3_scaled/large",
                   .rows = 16384,
                   .elements = 4096,
                   .to = DType::kF8E4M3,
                   .scale = 0.5f});
  return cases;
}

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::vector<uint8_t> x(static_cast<size_t>(BytesOf(c.from, c.rows * c.elements)), 0x35);
  std::vector<uint8_t> out(static_cast<size_t>(BytesOf(c.to, c.rows * c.elements)));
  float scale = c.scale;
  Args args = {.x = {x.data(), c.from, {c.rows, c.elements}},
               .out = {out.data(), c.to, {c.rows, c.elements}},
               .scale = {}};
  if (scale != 0) {
    args.scale = {&scale, DType::kF32, {1}};
  }
  MeasureRun(state, cpu, implementation, args);
  SetBytesAgainstLimit(state, cpu, static_cast<int64_t>(x.size() + out.size()));
}

const bool kRegistered =
    RegisterBenchmarks("cast", BenchmarkCases(), ImplementationsOf(PlatformKind::kCpu), Measure,
                       [](const Case& c) { return c.rows == 1; });

}  // namespace
}  // namespace quire::ops::cast
