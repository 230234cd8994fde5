// The rotation of a pair of elements, for the operators that do so.
#pragma once

#include "ops/cuda_elements.cuh"

namespace quire::ops::rope {

// Each operation rounds for itself: there is but one right answer.
template <typename T>
__device__ void Rotate(float2 cos_sin, T& first, T& second) {
  const float a = Widen(first);
  const float b = Widen(second);
  Narrow(__fadd_rn(__fmul_rn(a, cos_sin.x), -__fmul_rn(b, cos_sin.y)), first);
  Narrow(__fadd_rn(__fmul_rn(b, cos_sin.x), __fmul_rn(a, cos_sin.y)), second);
}

}  // namespace quire::ops::rope
