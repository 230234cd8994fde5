// Device code: elements whose type is known at run time, in fp32. A NaN stays one, but other than
// in ops/cuda_elements.cuh its payload is not kept.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::ops::linear {

__device__ inline float LoadAs(const void* data, DType type, int64_t index) {
  switch (type) {
    case DType::kF16: return __half2float(static_cast<const __half*>(data)[index]);
    case DType::kBF16: return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
    default: return static_cast<const float*>(data)[index];
  }
}

__device__ inline void StoreAs(float value, void* data, DType type, int64_t index) {
  switch (type) {
    case DType::kF16: static_cast<__half*>(data)[index] = __float2half(value); return;
    case DType::kBF16: static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16(value); return;
    default: static_cast<float*>(data)[index] = value;
  }
}

// `value` as StoreAs() and LoadAs() give it back.
__device__ inline float RoundedTo(float value, DType type) {
  switch (type) {
    case DType::kF16: return __half2float(__float2half(value));
    case DType::kBF16: return __bfloat162float(__float2bfloat16(value));
    default: return value;
  }
}

}  // namespace quire::ops::linear
