#include "ops/benchmark_limits.h"
#include "ops/repack_kv_index/repack_kv_index_cases.h"

namespace quire::ops::repack_kv_index {
namespace {

// A large decode batch, and tables beyond the caches.
std::vector<Case> BenchmarkCases() {
  return {
      {.name = "batch:256/length:8192/page:16", .page_size = 16, .batch = 256, .max_length = 8192},
      {.name = "batch:512/length:131072/page:1",
       .page_size = 1,
       .batch = 512,
       .max_length = 131072}};
}

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  const Case drawn = Drawn(c, 1);
  Problem problem(drawn, 1, 0);
  MeasureRun(state, cpu, implementation, problem.args);
  SetBytesAgainstLimit(state, cpu, 4 * 2 * Problem::PagesOf(drawn));
}

const bool kRegistered = RegisterBenchmarks("repack_kv_index", BenchmarkCases(),
                                            ImplementationsOf(PlatformKind::kCpu), Measure);

}  // namespace
}  // namespace quire::ops::repack_kv_index
