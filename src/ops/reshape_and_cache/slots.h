// What the operators that write to the cache share: slots of either integer type and the checks of
// arguments.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::reshape_and_cache {

// REQUIRES: a valid slot mapping in host memory.
inline int64_t SlotOf(const TensorView& slot_mapping, int64_t token) {
  return slot_mapping.dtype() == DType::kI32
             ? static_cast<const int32_t*>(slot_mapping.data())[token]
             : static_cast<const int64_t*>(slot_mapping.data())[token];
}

// For the operator `op`: OK if `slots` is contiguous i32 or i64 [T] at `place` and, where the host
// can read it, no slot is past the cache of `num_slots`; else invalid_argument.
Status CheckSlots(std::string_view op, const TensorView& slots, int64_t num_slots, Place place);

inline bool IsPlainFloating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// OK if `rows`, called `name`, is f32, f16 or bf16 of the expected shape at `place` and its last
// axis is contiguous; else invalid_argument.
Status CheckRows(std::string_view op, std::string_view name, const TensorView& rows,
                 const Shape& expected, Place place);

// OK if `scale`, called `name`, is there and, where the host can read it, finite and positive; else
// invalid_argument.
Status CheckScale(std::string_view op, std::string_view name, const float* scale, Place place);

}  // namespace quire::ops::reshape_and_cache
