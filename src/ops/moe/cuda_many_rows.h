// Products of the experts with many rows each: tiles of rows and features through the warpgroup
// instructions of sm_90a. Elements of weights that are codes are rounded to bf16.
#pragma once

#include <cuda_runtime.h>

#include "ops/moe/cuda_choices.h"
#include "ops/moe/cuda_grouped_product.h"

namespace quire::ops::moe {

inline constexpr int kManyRows = 128;  // of a tile

// `product` over tiles of kManyRows; what each token gets does not depend on the others, bit for
// bit. With `gated` its features are gates, then ups: instead of product.out, gated->out is
// activation(gate) * up, and 0 beyond the features.
cudaError_t RunManyRows(const GroupedProduct& product, const Activate* gated, cudaStream_t stream);

}  // namespace quire::ops::moe
