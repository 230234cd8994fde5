#include "ops/reshape_and_cache/slots.h"

#include <bit>
#include <cmath>

namespace quire::ops::reshape_and_cache {

Status CheckSlots(std::string_view op, const TensorView& slots, int64_t num_slots, Place place) {
  const bool integers = slots.dtype() == DType::kI32 || slots.dtype() == DType::kI64;
  if (!integers || slots.rank() != 1 || !slots.IsContiguous() || slots.place() != place ||
      (!slots.defined() && slots.dim(0) > 0)) {
    return InvalidArgument(op, ": slot_mapping must be contiguous i32 or i64 [tokens] on ",
                           PlaceName(place), ", not ", Describe(slots));
  }
  for (int64_t token = 0; place.IsHost() && token < slots.dim(0); ++token) {
    if (const int64_t slot = SlotOf(slots, token); slot >= num_slots) {
      return InvalidArgument(op, ": slot ", slot, " of token ", token,
                             " is past the cache, which has ", num_slots, " slots");
    }
  }
  return OkStatus();
}

Status CheckPageSize(std::string_view op, int32_t page_size) {
  if (page_size < 1 || !std::has_single_bit(static_cast<uint32_t>(page_size))) {
    return InvalidArgument(op, ": page size ", page_size,
                           " is not a power of two; use 1, 2, 4, 8, ...");
  }
  return OkStatus();
}

Status CheckScale(std::string_view op, std::string_view name, const float* scale, Place place) {
  if (scale == nullptr) {
    return InvalidArgument(op, ": the cache has no ", name, "; a cache of f8e4m3 needs it");
  }
  if (place.IsHost() && !(std::isfinite(*scale) && *scale > 0)) {
    return InvalidArgument(op, ": ", name, " is ", *scale, "; it must be finite and positive");
  }
  return OkStatus();
}

}  // namespace quire::ops::reshape_and_cache
