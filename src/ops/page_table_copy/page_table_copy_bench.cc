#include "ops/benchmark_limits.h"
#include "ops/page_table_copy/page_table_copy_cases.h"

namespace quire::ops::page_table_copy {
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
  Requests requests(drawn, 1);
  std::vector<int32_t> out(static_cast<size_t>(requests.batch() * requests.width()));
  const Args args = {.request_pages = requests.request_pages(),
                     .request_ids = requests.request_ids(),
                     .kv_length = requests.kv_length(),
                     .page_size = c.page_size,
                     .out = {out.data(), DType::kI32, {requests.batch(), requests.width()}}};
  MeasureRun(state, cpu, implementation, args);
  int64_t pages = 0;
  for (const int32_t length : drawn.lengths) {
    pages += PagesOf(length, c.page_size);
  }
  SetBytesAgainstLimit(state, cpu, 4 * (pages + static_cast<int64_t>(out.size())));
}

const bool kRegistered = RegisterBenchmarks("page_table_copy", BenchmarkCases(),
                                            ImplementationsOf(PlatformKind::kCpu), Measure);

}  // namespace
}  // namespace quire::ops::page_table_copy
