// Packed weights back to plain elements, for products that only know those.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/linear/cuda/cuda_layout.h"
#include "tensor/dtype.h"

namespace quire::ops::linear {

// out [rows][spans * span] = rows [first, first + rows) of `weight`, which has codes. `type` is
// f32 (exact) or bf16 (rounded).
cudaError_t ExpandRows(const DeviceSegment& weight, int64_t first, int64_t rows, DType type,
                       void* out, cudaStream_t stream);

// out [m][k_padded] = x, in another type; element i of a row is element order[i] of x, or i without
// an order; 0 from k on. Types are f32, f16 or bf16; k_padded is a multiple of 8.
struct RowCopy {
  const void* x = nullptr;
  DType x_type = DType::kF32;
  int64_t x_stride = 0;
  int64_t m = 0;
  int64_t k = 0;
  int64_t k_padded = 0;
  const int32_t* order = nullptr;
  void* out = nullptr;
  DType out_type = DType::kBF16;
};
cudaError_t CopyRows(const RowCopy& copy, cudaStream_t stream);

// out [m][n] (=, +=) sums [m][n] (+ bias), rounded once.
struct RowSums {
  const float* sums = nullptr;
  int64_t sums_stride = 0;
  const float* bias = nullptr;
  int64_t m = 0;
  int64_t n = 0;
  void* out = nullptr;
  DType out_type = DType::kBF16;
  int64_t out_stride = 0;
  bool accumulate = false;
};
cudaError_t StoreSums(const RowSums& rows, cudaStream_t stream);

}  // namespace quire::ops::linear
