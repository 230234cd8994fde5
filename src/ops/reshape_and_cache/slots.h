// Slots of either integer type, and where they lie.
#pragma once

#include "ops/reshape_and_cache/reshape_and_cache.h"

namespace quire::ops::reshape_and_cache {

inline int64_t SlotOf(const TensorView& slot_mapping, int64_t token) {
  return slot_mapping.dtype() == DType::kI32
             ? static_cast<const int32_t*>(slot_mapping.data())[token]
             : static_cast<const int64_t*>(slot_mapping.data())[token];
}

// Elements from the start of the cache's arrays to a slot of one head. REQUIRES: slot >= 0.
inline int64_t OffsetOf(const PagedKvView& cache, int64_t slot, int32_t head) {
  return cache.ElementOffset(slot / cache.page_size, head) +
         slot % cache.page_size * cache.head_dim;
}

}  // namespace quire::ops::reshape_and_cache
