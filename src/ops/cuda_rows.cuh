// What the kernels over rows [T, D] and [T, H, D] share: the types, whether rows move in whole
// packs, and groups of threads that share a row.
//
// A row's sums are taken in an order that its length and type alone determine, so that its result
// does not depend on its neighbours or its alignment.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ops/cuda_elements.cuh"
#include "ops/row_views.h"

namespace quire::ops {

// Calls body(T{}) with the type that stores f32, f16 or bf16.
template <typename Body>
void WithPlainType(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF16: return body(Half{});
    case DType::kBF16: return body(BFloat16{});
    default: return body(float{});
  }
}

// Calls body(X{}, W{}) with the types of rows and of a weight, which is f32 or the rows'.
template <typename Body>
void WithRowAndWeightType(DType rows, DType weight, const Body& body) {
  WithPlainType(rows, [&](auto x) {
    if (weight == rows) {
      body(x, x);
    } else {
      body(x, float{});
    }
  });
}

// Calls body with the constant true or false.
template <typename Body>
void WithConstant(bool value, const Body& body) {
  if (value) {
    body(std::true_type());
  } else {
    body(std::false_type());
  }
}

// Whether the rows of `view` are aligned to `bytes`.
inline bool IsAligned(const TensorView& view, size_t bytes = 16) {
  bool aligned = reinterpret_cast<uintptr_t>(view.data()) % bytes == 0;
  for (int axis = 0; axis + 1 < view.rank(); ++axis) {
    aligned &= static_cast<size_t>(BytesOf(view.dtype(), view.stride(axis))) % bytes == 0;
  }
  return aligned;
}

// RowLayout::Offset() with a division of 32 bits, the longer one costs more than a row's own work.
// REQUIRES: row < 2^32.
__device__ inline int64_t OffsetOf(const RowLayout& layout, int64_t row) {
  if (layout.heads == 1) {
    return row * layout.token_stride;
  }
  const auto index = static_cast<uint32_t>(row);
  const auto heads = static_cast<uint32_t>(layout.heads);
  return index / heads * layout.token_stride + index % heads * layout.head_stride;
}

// How rows are dealt to threads: `threads` of a block share a row, of which a block has
// `rows_per_block`. More than one row only where a row's threads lie in a warp.
struct RowGroups {
  RowGroups(int64_t rows, int64_t packs, int packs_per_thread) {
    const int64_t wanted = (packs + packs_per_thread - 1) / packs_per_thread;
    threads = packs <= 32 ? static_cast<int>(std::bit_ceil(static_cast<uint64_t>(packs)))
                          : static_cast<int>(std::min<int64_t>((wanted + 31) / 32 * 32, 1024));
    rows_per_block = threads <= 32 ? 256 / threads : 1;
    blocks = static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block);
  }

  int threads = 1;
  int rows_per_block = 1;
  unsigned blocks = 0;
  unsigned block_threads() const { return static_cast<unsigned>(threads * rows_per_block); }
};

// The sum over the `threads` threads that share a row, in all of them. Every thread of the block
// calls it.
__device__ inline float GroupSum(float value, int threads) {
  for (int offset = min(threads, 32) / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffff, value, offset);
  }
  if (threads <= 32) {
    return value;
  }
  __shared__ float of_warp[32];
  const int warps = threads / 32;
  __syncthreads();  // who still reads the last sum's
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = value;
  }
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < warps; ++warp) {
    sum += of_warp[warp];
  }
  return sum;
}

}  // namespace quire::ops
