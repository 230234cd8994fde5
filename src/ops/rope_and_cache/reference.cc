#include "ops/rope_and_cache/rope_and_cache.h"

namespace quire::ops::rope_and_cache {

Implementations ReferenceImplementations() {
  return {{"reference",
           [](const OpContext& context, const Args&) {
             return context.stream.device().place().IsHost();
           },
           [](const OpContext& context, const Args& args) {
             OpContext by_references = context;
             by_references.implementation = "reference";
             return RunComposed(by_references, args);
           },
           "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3"}};
}

}  // namespace quire::ops::rope_and_cache
