// Products of some rows in f8e4m3, so few that reading the weight takes longest: a multiprocessor
// has several blocks that each read a part of it, and each weight is read once.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/status.h"
#include "ops/linear/cuda/cuda_layout.h"
#include "tensor/dtype.h"

namespace quire::ops::linear {

inline constexpr int kMaxFp8Rows = 64;
// The number of rows for which RunFp8Product() wants its scales; it reads as many, whatever they
// are.
constexpr int Fp8ScaleStride(int rows) {
  return rows <= 16 ? 16 : rows <= 32 ? 32 : 64;
}

// out [M, N] (=, +=) x * w^T (+ bias), where x are codes times scales as RoundToFp8() makes them.
// Sums of 128 elements of K are those of the tensor cores; times both scales they are added in fp32
// in an order that depends on N and K alone.
struct Fp8Product {
  const uint8_t* x = nullptr;       // [M][spans][128]
  const float* x_scales = nullptr;  // [spans][Fp8ScaleStride(M)], aligned to 16 bytes
  int m = 0;                        // 1 .. kMaxFp8Rows
  DeviceSegment weight = {};        // f8e4m3 with squares
  const float* bias = nullptr;      // [N] or null
  void* out = nullptr;              // rows of x, features of `weight` alone
  int64_t out_stride = 0;
  DType out_type = DType::kBF16;  // or f32, f16
  bool accumulate = false;
};

// Into how many parts, each of a block of a cluster, K is cut: 1, 2, 4 or 8, for as many
// multiprocessors. What measured best on an H200.
int Fp8Splits(const DeviceSegment& weight, int compute_units);

// Enqueues it; REQUIRES Hopper. May start while the kernel before it still runs: it reads only
// weights until that one has finished. Errors: those of the driver.
Status RunFp8Product(const Fp8Product& product, int splits, cudaStream_t stream);

}  // namespace quire::ops::linear
