#include "ops/reshape_and_cache/slots.h"

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

Status CheckRows(std::string_view op, std::string_view name, const TensorView& rows,
                 const Shape& expected, Place place) {
  if (!IsPlainFloating(rows.dtype()) || rows.shape() != expected || rows.place() != place ||
      (!rows.defined() && expected.elements() > 0)) {
    return InvalidArgument(op, ": ", name, " must be f32, f16 or bf16 ", ShapeName(expected),
                           " on ", PlaceName(place), ", not ", Describe(rows));
  }
  const int last = expected.rank() - 1;
  if (rows.dim(last) > 1 && rows.stride(last) != 1) {
    return InvalidArgument(op, ": the elements of a row of ", name, " must be contiguous, not ",
                           rows.stride(last), " apart");
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
