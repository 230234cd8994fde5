// Products in fp32, whose bits do not depend on the number of rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace quire::ops::linear {

// out [m, n] = x [m, k] * w [n, k]^T in fp32, all row-major, each sum one chain of fused products
// in ascending order of K.
struct Fp32Product {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;  // elements
  const float* w = nullptr;
  int64_t w_stride = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
  bool accumulate = false;
};
cudaError_t RunFp32(const Fp32Product& product, cudaStream_t stream);

}  // namespace quire::ops::linear
