#include "ops/attention/attention_benchmark.h"
#include "ops/mla_attention/mla_attention_cases.h"

namespace quire::ops::mla_attention {

namespace {

// DeepSeek-V2-Lite: 16 heads over rows of 512 + 64.
Case DecodeOf(std::string name, int32_t length, DType dtype, KvScaling scaling) {
  Case c = attention::WithSequences(Latent({.name = std::move(name)}, 16, 512, 64), 1, length, 1);
  c.page_size = 64;
  c.dtype = dtype;
  c.scaling = scaling;
  return c;
}

std::vector<Case> Cases() {
  return {DecodeOf("deepseek_bf16", 512, DType::kBF16, KvScaling::kNone),
          DecodeOf("deepseek_bf16", 4096, DType::kBF16, KvScaling::kNone),
          DecodeOf("deepseek_fp8", 4096, DType::kF8E4M3, KvScaling::kPerTensor)};
}

const bool kRegistered = attention::RegisterBenchmarks(
    "mla_attention", Cases(), 8, ImplementationsOf(PlatformKind::kCpu), ArgsOf);

}  // namespace

}  // namespace quire::ops::mla_attention
