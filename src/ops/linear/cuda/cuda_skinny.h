// Products with few rows of x: each weight is read once, straight into the fragments of the tensor
// cores, codes as small integers, so that reading is all that it costs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/linear/cuda/cuda_layout.h"
#include "tensor/dtype.h"

namespace quire::ops::linear {

inline constexpr int kMaxSkinnyRows = 16;

// rms_norm of the rows of x before a product: each block does it for itself in shared memory, while
// its first weights are on their way. The bits are those of rms_norm.
struct SkinnyNorm {
  const float* weight = nullptr;  // [K], aligned to 16 bytes; null: x as it is
  float epsilon = 0;
  float weight_offset = 0;
};

// With more the norm is quicker as a kernel of its own: here every block does it again.
inline constexpr int kMaxNormedRows = 2;
// Two blocks of a multiprocessor have room for that.
inline constexpr int64_t kMaxNormedRowsBytes = 96 << 10;

// out [M, N] (=, +=) x * w^T (+ bias), sums in fp32 in an order that depends on N and K alone.
struct SkinnyProduct {
  // f16 for weights of f16, else bf16; rows of whole spans, zero beyond K, aligned to 16 bytes.
  // With a norm K fills its spans, and there are at most kMaxNormedRows.
  const void* x = nullptr;
  int64_t x_stride = 0;         // elements
  int m = 0;                    // 1 .. kMaxSkinnyRows
  DeviceSegment weight = {};    // any kind but f32
  const float* bias = nullptr;  // [N] or null
  void* out = nullptr;          // rows of x, features of `weight` alone
  int64_t out_stride = 0;
  DType out_type = DType::kBF16;  // or f32, f16
  bool accumulate = false;
  SkinnyNorm norm = {};
  // out [M, N / 2] = activation(the first half of the product) * the second, both rounded to the
  // type of out first: what act_and_mul makes of it.
  bool gated = false;
  act_and_mul::Activation activation = act_and_mul::Activation::kSilu;
};

// Shared memory of a block for `rows` normed rows of x and the norm's weight.
int64_t NormedRowsBytes(int64_t rows, int64_t k);

// How a block of 8 warps is cut: 16 * row_tiles * (8 / k_warps) output features.
struct SkinnyShape {
  int row_tiles = 1;  // 1 or, dense, 2
  int k_warps = 8;    // 2, 4 or 8 warps share the features of a row
};
// What measured best on an H200.
SkinnyShape ShapeOf(const DeviceSegment& weight);

// Enqueues it. May start while the kernel before it still runs: it reads only weights until that
// one has finished.
cudaError_t RunSkinny(const SkinnyProduct& product, const SkinnyShape& shape, cudaStream_t stream);

}  // namespace quire::ops::linear
