#include "ops/attention/attention_benchmark.h"
#include "ops/flash_attention/flash_attention_cases.h"

namespace quire::ops::flash_attention {

namespace {

using attention::WithSequences;

Case Changed(Case c, std::string_view name, int page_size, DType dtype, KvScaling scaling) {
  c.name += StrCat("_", name);
  c.page_size = page_size;
  c.dtype = dtype;
  c.scaling = scaling;
  return c;
}

std::vector<Case> Cases() {
  const Case smollm2 = WithSequences(attention::SmolLm2Shape(), 1, 512, 512);
  // The heads of DeepSeek-V3's prefill, four of them.
  const Case mla = WithSequences({.name = "decompressed_mla",
                                  .q_heads = 4,
                                  .kv_heads = 4,
                                  .key_dim = 192,
                                  .value_dim = 128,
                                  .query_dtype = DType::kBF16},
                                 1, 512, 512);
  return {
      smollm2,
      WithSequences(attention::SmolLm2Shape(), 1, 2048, 2048),
      WithSequences(attention::Llama3Shape(), 1, 512, 512),
      WithSequences(attention::Llama3Shape(), 1, 2048, 2048),
      WithSequences(attention::Gemma3Shape(), 1, 512, 512),
      WithSequences(attention::Gemma3Shape(), 1, 2048, 2048),
      Changed(smollm2, "rows", 0, DType::kF16, KvScaling::kNone),
      Changed(smollm2, "f32", 16, DType::kF32, KvScaling::kNone),
      Changed(smollm2, "fp8", 16, DType::kF8E4M3, KvScaling::kPerTokenHead),
      Changed(mla, "pages", 16, DType::kBF16, KvScaling::kNone),
      Changed(mla, "rows", 0, DType::kBF16, KvScaling::kNone),
  };
}

const bool kRegistered = attention::RegisterBenchmarks(
    "flash_attention", Cases(), 1, ImplementationsOf(PlatformKind::kCpu), ArgsOf);

}  // namespace

}  // namespace quire::ops::flash_attention
