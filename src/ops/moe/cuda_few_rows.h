// Products of the experts with few rows each: a weight is read once for a tile of rows, straight
// into the fragments of the tensor cores, as in linear's "few_rows"
// (ops/linear/cuda/cuda_skinny.cuh).
#pragma once

#include <cuda_runtime.h>

#include "ops/moe/cuda_grouped_product.h"

namespace quire::ops::moe {

// Rows of a tile: one of two sizes.
inline constexpr int kFewRows = 8;
inline constexpr int kSomeRows = 16;

// Enqueues `product`. The order of a sum depends on N and K alone.
cudaError_t RunFewRows(const GroupedProduct& product, cudaStream_t stream);

}  // namespace quire::ops::moe
