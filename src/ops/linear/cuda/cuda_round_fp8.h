// Activations rounded to f8e4m3 with a scale per 128 input features (ActivationMode::kFp8).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::ops::linear {

// Rows of x, and where they go: as codes and scales or, if `codes` is null, as scale * code in
// bf16. Beyond K they are as if x was zero there.
struct Fp8Rows {
  const void* x = nullptr;
  DType x_type = DType::kBF16;  // f32, f16 or bf16
  int64_t x_stride = 0;         // elements
  int64_t m = 0;
  int64_t k = 0;
  int64_t spans = 0;         // ceil(k / 128)
  uint8_t* codes = nullptr;  // [m][spans][128], in the order of a span of cuda_layout.h
  float* scales = nullptr;   // [spans][scale_stride], scale_stride >= m
  int64_t scale_stride = 0;
  void* bf16 = nullptr;  // [m][spans][128]
};

// Enqueues it. It may start, and wait, while the kernel before it runs.
cudaError_t RoundToFp8(const Fp8Rows& rows, cudaStream_t stream);

}  // namespace quire::ops::linear
