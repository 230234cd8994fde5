// Products whose sums are one chain: the order by which those of a library are judged.
//
// An output is the sum over K in steps of 16 elements in ascending order, each a tensor core
// product m16n8k16 that is added to the sum before it. So its bits depend on nothing else, not on
// the number of rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::ops::linear {

// out [m, n] = x [m, k] * w [n, k]^T, all row-major, rounded once.
struct ChainProduct {
  DType in = DType::kBF16;        // or f16
  DType out_type = DType::kBF16;  // or f16, f32
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;            // a multiple of 8
  const void* x = nullptr;  // rows of x and w are aligned to 16 bytes
  int64_t x_stride = 0;     // elements
  const void* w = nullptr;
  int64_t w_stride = 0;
  void* out = nullptr;
  int64_t out_stride = 0;
};

// Enqueues it. Slow: for what a library does not do.
cudaError_t RunChain(const ChainProduct& product, cudaStream_t stream);

// Enqueues the comparison of what `out` holds with the product: *differences, on the device,
// becomes the number of elements that are not equal.
cudaError_t CompareWithChain(const ChainProduct& product, int* differences, cudaStream_t stream);

}  // namespace quire::ops::linear
