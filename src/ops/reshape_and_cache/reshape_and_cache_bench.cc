#include "ops/benchmark_limits.h"
#include "ops/reshape_and_cache/reshape_and_cache_cases.h"

namespace quire::ops::reshape_and_cache {
namespace {

// A decode step, a prefill chunk that stays in the caches, and a prefill far beyond them: 32768
// tokens of 8 heads of 128 are 256 MiB of f32.
std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  struct Format {
    const char* name;
    DType input;
    DType stored;
    PageOrder order = PageOrder::kHnd;
    KvScaling scaling = KvScaling::kNone;
  };
  for (const Format& format : {Format{"f16_to_f16", DType::kF16, DType::kF16},
                               {"f32_to_f16", DType::kF32, DType::kF16},
                               {"f32_to_bf16", DType::kF32, DType::kBF16},
                               {"f32_to_f32", DType::kF32, DType::kF32},
                               {"f16_to_f16_nhd", DType::kF16, DType::kF16, PageOrder::kNhd},
                               {"bf16_to_f8e4m3_per_tensor", DType::kBF16, DType::kF8E4M3,
                                PageOrder::kHnd, KvScaling::kPerTensor},
                               {"bf16_to_f8e4m3_per_token_head", DType::kBF16, DType::kF8E4M3,
                                PageOrder::kHnd, KvScaling::kPerTokenHead}}) {
    for (const int32_t tokens : {32, 512, 32768}) {
      cases.push_back({.name = StrCat(format.name, "/tokens:", tokens),
                       .tokens = tokens,
                       .kv_heads = 8,
                       .head_dim = 128,
                       .input_type = format.input,
                       .cache_type = format.stored,
                       .order = format.order,
                       .scaling = format.scaling});
    }
  }
  return cases;
}

// Memory without guards; a sequence's tokens go to whole pages in a random order.
struct Memory {
  Memory(CpuFixture& cpu, const Case& c)
      : num_pages(c.tokens / c.page_size),
        rows(int64_t{c.tokens} * c.kv_heads),
        bytes_in(BytesOf(c.input_type, rows * c.head_dim)),
        bytes_out(BytesOf(c.cache_type, rows * c.head_dim)),
        key(FilledBuffer(cpu, bytes_in, 0x3a)),
        value(FilledBuffer(cpu, bytes_in, 0x3a)),
        k(FilledBuffer(cpu, bytes_out, 0)),
        v(FilledBuffer(cpu, bytes_out, 0)),
        k_scale(static_cast<size_t>(rows), 1.0f),
        v_scale(static_cast<size_t>(rows), 1.0f) {
    std::vector<int64_t> pages(static_cast<size_t>(num_pages));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937_64(1));
    for (int64_t token = 0; token < c.tokens; ++token) {
      slots.push_back(pages[static_cast<size_t>(token / c.page_size)] * c.page_size +
                      token % c.page_size);
    }
    const Shape shape = {c.tokens, c.kv_heads, c.head_dim};
    args = {.key = {key.data(), c.input_type, shape},
            .value = {value.data(), c.input_type, shape},
            .slot_mapping = {slots.data(), DType::kI64, {c.tokens}},
            .cache = {.k = k.data(),
                      .v = v.data(),
                      .dtype = c.cache_type,
                      .num_pages = num_pages,
                      .num_kv_heads = c.kv_heads,
                      .page_size = c.page_size,
                      .head_dim = c.head_dim,
                      .place = {},
                      .order = c.order,
                      .scaling = c.scaling,
                      .k_scale = k_scale.data(),
                      .v_scale = v_scale.data()}};
  }

  int64_t num_pages;
  int64_t rows;
  int64_t bytes_in;   // of the keys, and as many of the values
  int64_t bytes_out;  // of their pages
  Buffer key;
  Buffer value;
  Buffer k;
  Buffer v;
  std::vector<float> k_scale;
  std::vector<float> v_scale;
  std::vector<int64_t> slots;
  Args args;
};

void Measure(benchmark::State& state, const Case& c, std::string_view implementation) {
  CpuFixture cpu(0);
  Memory memory(cpu, c);
  MeasureRun(state, cpu, implementation, memory.args);
  SetBytesAgainstLimit(state, cpu, 2 * (memory.bytes_in + memory.bytes_out));
}

const bool kRegistered =
    RegisterBenchmarks("reshape_and_cache", BenchmarkCases(), ImplementationsOf(PlatformKind::kCpu),
                       Measure, [](const Case& c) { return c.tokens <= 512; });

}  // namespace
}  // namespace quire::ops::reshape_and_cache
