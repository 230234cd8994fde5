// Products whose sums are one chain: the order by which those of a library are judged.
//
// An output is the sum over K in steps of 16 elements in ascending order, each a tensor core
// product m16n8k16 that is added to the sum before it. So its bits depend on nothing else, not on
// the number of rows.
#pragma once

#include <cuda_runtime.h>

#include "ops/linear/cuda/cuda_matmul.h"

namespace quire::ops::linear {

// Enqueues `matmul`, of f16 or bf16, without accumulate, K a multiple of 8. What it gives is
// rounded once. Slow: for what a library does not do.
cudaError_t RunChain(const Matmul& matmul, cudaStream_t stream);

// Enqueues the comparison of what `result` holds with the product: *differences, on the device,
// becomes the number of elements that are not equal.
cudaError_t CompareWithChain(const Matmul& matmul, int* differences, cudaStream_t stream);

}  // namespace quire::ops::linear
