#include "ops/rope_and_cache/rope_and_cache.h"

namespace quire::ops::rope_and_cache {

Implementations CpuImplementations() {
  return {Composed()};
}

}  // namespace quire::ops::rope_and_cache
