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
  for (const int page_size : {1, 64}) {
    cases.push_back(WithSequences(shape, 1, 2048, 1));
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

std::vector<Case> Gemma3Cases() {
  const Case shape = attention::Gemma3Shape();
  return {WithSequences(shape, 1, 512, 1), WithSequences(shape, 1, 8192, 1)};
}

const bool kRegistered =
    attention::RegisterBenchmarks("paged_attention", SmolLm2Cases(), 30,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf) &&
    attention::RegisterBenchmarks("paged_attention", Gemma3Cases(), 18,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf) &&
    attention::RegisterBenchmarks("paged_attention",
                                  {WithSequences(attention::SmolLm2Shape(), 32, 512, 1)}, 2,
                                  ImplementationsOf(PlatformKind::kCpu), ArgsOf);

}  // namespace

}  // namespace quire::ops::paged_attention
