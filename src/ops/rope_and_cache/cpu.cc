#include "ops/rope_and_cache/rope_and_cache.h"

namespace quire::ops::rope_and_cache {

Implementations CpuImplementations() {
  return {{"composed", [](const OpContext&, const Args&) { return true; },
           [](const OpContext& context, const Args& args) {
             OpContext by_the_best = context;
             by_the_best.implementation = {};
             return RunComposed(by_the_best, args);
           },
           "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3"}};
}

}  // namespace quire::ops::rope_and_cache
