// A product of plain elements, as a library or a kernel takes it.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::ops::linear {

// result [m, n] (=, +=) x [m, k] * w [n, k]^T, all row-major, sums in fp32. Addresses
// and rows are aligned to 16 bytes.
struct Matmul {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements
  const void* w = nullptr;
  int64_t w_stride = 0;
  void* result = nullptr;
  int64_t result_stride = 0;
  DType in = DType::kBF16;   // of x and w: f32, f16, bf16 or f8e4m3
  DType out = DType::kBF16;  // of the result: f32 or `in`, bf16 in place of f8e4m3
  // Of f8e4m3, f32: a scale for each 128 of k and row of x, [ceil(k / 128)][m], and one for each
  // square of w, [ceil(n / 128)][ceil(k / 128) rounded up to 4]. m is a multiple of 4, k of 128.
  const float* x_scales = nullptr;
  const float* w_scales = nullptr;
  bool accumulate = false;
  bool chain = false;  // each sum is that of cuda_chain.h: for f16, bf16, without accumulate
};

}  // namespace quire::ops::linear
