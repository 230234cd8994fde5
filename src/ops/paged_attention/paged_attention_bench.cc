#include "ops/attention/attention_benchmark.h"
#include "ops/paged_attention/paged_attention_cases.h"

namespace quire::ops::paged_attention {

namespace {

using attention::WithSequences;

std::vector<Case> SmolLm2Cases() {
  std::vector<Case> cases;
  const Case shape = attention::SmolLm2Shape();
  for (const int32_t length : {512, 2048, 8192}) {
    cases.push_back(WithSequences(shape, 1, length, 1));
  }
  for (const int page_size : {1, 2, 4, 8, 32, 64, 128, 256}) {
    cases.push_back(WithSequences(shape, 1, 8192, 1));
    cases.back().page_size = page_size;
    cases.back().name += StrCat("_page_", page_size);
  }
  for (const attention::CacheType& type : attention::kCacheTypes) {
    if (type.dtype != shape.dtype) {
      cases.push_back(WithSequences(shape, 1, 2048, 1));
      cases.back().dtype = type.dtype;
      cases.back().scaling = type.scaling;
      cases.back().name += StrCat("_", type.name);
    }
  }
  return cases;
}

// Enough layers for a cache that no cache of the machine holds.
std::vector<Case> Llama3Cases() {
  const Case shape = attention::Llama3Shape();
  return {WithSequences(shape, 1, 2048, 1), WithSequences(shape, 1, 8192, 1)};
}

std::vector<Case> BatchCases() {
  return {WithSequences(attention::SmolLm2Shape(), 32, 512, 1),
          WithSequences(attention::SmolLm2Shape(), 32, 2048, 1),
          WithSequences(attention::Llama3Shape(), 32, 2048, 1)};
}

std::vector<Case> Gemma3Cases() {
  const Case shape = attention::Gemma3Shape();
  return {WithSequences(shape, 1, 512, 1), WithSequences(shape, 1, 8192, 1)};
}

const bool kRegistered =
    attention::RegisterBenchmarks("paged_attention", SmolLm2Cases(), 30,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf) &&
    attention::RegisterBenchmarks("paged_attention", Gemma3Cases(), 18,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf) &&
    attention::RegisterBenchmarks("paged_attention", Llama3Cases(), 12,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf) &&
    attention::RegisterBenchmarks("paged_attention", BatchCases(), 2,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf);

}  // namespace

}  // namespace quire::ops::paged_attention
