#include "ops/benchmark_limits.h"
#include "ops/concat_and_cache_mla/concat_and_cache_mla_cases.h"

namespace quire::ops::concat_and_cache_mla {
namespace {

// A decode step, and a prefill whose arrays (72 MiB each in bf16) are beyond the caches.
std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  for (const DType stored : {DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (const int32_t tokens : {32, 65536}) {
      cases.push_back({.name = StrCat("bf16_to_", InfoOf(stored).name, "/tokens:", tokens),
                       .tokens = tokens,
                       .page_size = 64,
                       .cache_type = stored});
    }
  }
  return cases;
}

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  const int64_t row = c.latent_dim + c.rope_dim;
  std::vector<uint16_t> latent(static_cast<size_t>(c.tokens) * c.latent_dim, 0x3f9a);
  std::vector<uint16_t> rope(static_cast<size_t>(c.tokens) * c.rope_dim, 0x3f9a);
  std::vector<int64_t> slots(static_cast<size_t>(c.tokens));
  std::iota(slots.begin(), slots.end(), 0);
  const int64_t num_pages = (c.tokens + c.page_size - 1) / c.page_size;
  const Buffer cache = FilledBuffer(cpu, BytesOf(c.cache_type, num_pages * c.page_size * row), 0);
  float scale = 0.5f;
  const Args args = {.latent = {latent.data(), c.input_type, {c.tokens, c.latent_dim}},
                     .rope = {rope.data(), c.input_type, {c.tokens, c.rope_dim}},
                     .slot_mapping = {slots.data(), DType::kI64, {c.tokens}},
                     .cache = {.data = cache.data(),
                               .dtype = c.cache_type,
                               .num_pages = num_pages,
                               .page_size = c.page_size,
                               .latent_dim = c.latent_dim,
                               .rope_dim = c.rope_dim,
                               .place = {},
                               .scale = c.cache_type == DType::kF8E4M3 ? &scale : nullptr}};
  MeasureRun(state, cpu, implementation, args);
  SetBytesAgainstLimit(
      state, cpu, BytesOf(c.input_type, c.tokens * row) + BytesOf(c.cache_type, c.tokens * row));
}

const bool kRegistered = RegisterBenchmarks("concat_and_cache_mla", BenchmarkCases(),
                                            ImplementationsOf(PlatformKind::kCpu), Measure,
                                            [](const Case& c) { return c.tokens <= 512; });

}  // namespace
}  // namespace quire::ops::concat_and_cache_mla
