// Device code: the arithmetic of a norm, which kernels of other operators apply too. A row is
// shared by RowGroups::threads threads; each takes a pack at a time, `threads` packs apart, and
// adds the squares in ascending order; GroupSum() adds the threads' sums.
#pragma once

#include "ops/cuda_rows.cuh"

namespace quire::ops::rms_norm {

inline constexpr int kCached = 4;  // packs of a row that a thread keeps between the passes

template <int kPack, typename X>
__device__ inline float SquareSum(const Pack<X, kPack>& pack, float sum) {
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const float value = Widen(pack.values[i]);
    sum += value * value;
  }
  return sum;
}

__device__ inline float ScaleOf(float sum, int elements, float epsilon) {
  return 1.0f / sqrtf(sum / static_cast<float>(elements) + epsilon);
}

__device__ inline float Scaled(float value, float scale, float weight) {
  return value * scale * weight;
}

}  // namespace quire::ops::rms_norm
