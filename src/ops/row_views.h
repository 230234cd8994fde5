// The rows of [T, D] and [T, H, D] arrays, and the checks that all row-wise operators make of them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "tensor/tensor_view.h"

namespace quire::ops {

// Where the T * H rows of an array start; [T, D] is [T, 1, D].
struct RowLayout {
  RowLayout() = default;
  explicit RowLayout(const TensorView& view)
      : heads(view.rank() == 3 ? view.dim(1) : 1),
        token_stride(view.stride(0)),
        head_stride(view.rank() == 3 ? view.stride(1) : 0) {}

  // Elements from the start of the array to row `row`.
  int64_t Offset(int64_t row) const {
    return row / heads * token_stride + row % heads * head_stride;
  }

  int64_t heads = 1;
  int64_t token_stride = 0;  // elements
  int64_t head_stride = 0;   // elements
};

inline int64_t RowsOf(const TensorView& view) {
  return view.rank() == 3 ? view.dim(0) * view.dim(1) : view.dim(0);
}

inline int64_t LastDim(const TensorView& view) {
  return view.dim(view.rank() - 1);
}

// Whether an optional argument was given. An array of no elements may have no address.
inline bool IsGiven(const TensorView& view) {
  return view.rank() > 0;
}

inline Status ValidateLastAxis(std::string_view op, std::string_view name, const TensorView& view) {
  const int last = view.rank() - 1;
  if (view.dim(last) > 1 && view.stride(last) != 1) {
    return InvalidArgument(op, ": the last axis of ", name, " has stride ", view.stride(last),
                           "; it must be contiguous");
  }
  return OkStatus();
}

// Errors unless `view` is f32, f16 or bf16 at `place` with a contiguous last axis.
inline Status ValidateRows(std::string_view op, std::string_view name, const TensorView& view,
                           Place place) {
  const DType dtype = view.dtype();
  const bool plain = dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
  if (!plain || view.rank() == 0 || view.place() != place) {
    return InvalidArgument(op, ": ", name, " is ", Describe(view),
                           "; it must be f32, f16 or bf16 on ", PlaceName(place));
  }
  return ValidateLastAxis(op, name, view);
}

// Errors unless `view` has the type, shape and place of the valid array `x` and a contiguous last
// axis.
inline Status ValidateLike(std::string_view op, std::string_view name, const TensorView& view,
                           std::string_view x_name, const TensorView& x) {
  if (view.dtype() != x.dtype() || view.shape() != x.shape() || view.place() != x.place()) {
    return InvalidArgument(op, ": ", name, " is ", Describe(view), ", ", x_name, " is ",
                           Describe(x), "; type, shape and place must be equal");
  }
  return ValidateLastAxis(op, name, view);
}

// Errors unless `weight` is [D], contiguous, f32 or of the type of the valid rows `x` [.., D].
inline Status ValidateWeight(std::string_view op, std::string_view name, const TensorView& weight,
                             const TensorView& x) {
  const int64_t elements = LastDim(x);
  if ((weight.dtype() != DType::kF32 && weight.dtype() != x.dtype()) ||
      weight.shape() != Shape{elements} || weight.place() != x.place()) {
    return InvalidArgument(op, ": ", name, " is ", Describe(weight), " for x ", Describe(x),
                           "; it must be [", elements, "], f32 or of x's type");
  }
  return ValidateLastAxis(op, name, weight);
}

}  // namespace quire::ops
