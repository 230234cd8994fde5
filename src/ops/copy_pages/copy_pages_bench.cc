#include "ops/benchmark_limits.h"
#include "ops/copy_pages/copy_pages_cases.h"

namespace quire::ops::copy_pages {
namespace {

// 256 MiB in 256 MiB arrays of pages of many sizes, and the one page that a fork copies.
std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  for (const int32_t kib : {1, 4, 32, 256, 1024}) {
    const int32_t pages = (256 << 10) / kib;
    cases.push_back({.name = StrCat("page_kib:", kib, "/mib:256"),
                     .source_pages = pages,
                     .destination_pages = pages,
                     .page_elements = kib * 512,
                     .pairs = pages});
  }
  cases.push_back({.name = "page_kib:32/one_page", .page_elements = 32 * 512, .pairs = 1});
  return cases;
}

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  std::mt19937_64 rng(1);
  const int64_t page_bytes = BytesOf(c.dtype, c.page_elements);
  const Buffer source = FilledBuffer(cpu, c.source_pages * page_bytes, 1);  // as caches are
  const Buffer destination = FilledBuffer(cpu, c.destination_pages * page_bytes, 2);
  std::vector<int32_t> pairs = DrawnPairs(rng, c);
  const Args args = {
      .source = {source.data(), c.dtype, {c.source_pages, c.page_elements}},
      .destination = {destination.data(), c.dtype, {c.destination_pages, c.page_elements}},
      .pairs = {pairs.data(), DType::kI32, {c.pairs, 2}}};
  MeasureRun(state, cpu, implementation, args);
  SetBytesAgainstLimit(state, cpu, 2 * c.pairs * page_bytes);
}

const bool kRegistered =
    RegisterBenchmarks("copy_pages", BenchmarkCases(), ImplementationsOf(PlatformKind::kCpu),
                       Measure, [](const Case& c) { return c.pairs == 1; });

}  // namespace
}  // namespace quire::ops::copy_pages
