// Products in fp32, whose bits do not depend on the number of rows.
#pragma once

#include <cuda_runtime.h>

#include "ops/linear/cuda/cuda_matmul.h"

namespace quire::ops::linear {

// Enqueues `matmul`, of f32 to f32. Each sum is one chain of fused products in ascending order of
// K, which is a multiple of 8.
cudaError_t RunFp32(const Matmul& matmul, cudaStream_t stream);

}  // namespace quire::ops::linear
