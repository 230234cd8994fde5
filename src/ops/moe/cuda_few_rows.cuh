// The kernel of cuda_few_rows.h. Each instantiation is in one of cuda_few_rows*.cu.
//
// A block has output features of the expert of one tile of rows: k_warps warps share 16 of them and
// take spans in turn, and their sums meet in shared memory in the order of the warps.
#pragma once

#include <algorithm>
#include <bit>

#include "ops/linear/cuda/cuda_skinny.cuh"
#include "ops/moe/cuda_few_rows.h"
#include "ops/moe/cuda_weight_of.cuh"

namespace quire::ops::moe {

inline constexpr int kFeatures = 16;  // of a warp

// Warps that share features: each has some spans, or starting and ending cost more than reading.
inline int WarpsOf(const linear::DeviceSegment& weight) {
  constexpr int64_t kSomeSpans = 6;
  const auto shares = static_cast<uint64_t>(
      std::clamp<int64_t>(weight.spans / kSomeSpans, 1, linear::kSkinnyWarps));
  return static_cast<int>(std::bit_floor(shares));
}

template <linear::DeviceKind kKind, int kColumnTiles>
__global__ void __launch_bounds__(32 * linear::kSkinnyWarps, 2)
    FewRowsKernel(const __grid_constant__ GroupedProduct p, int k_warps) {
  constexpr int kWarps = linear::kSkinnyWarps;
  __shared__ float partial[kWarps][kFeatures][8 * kColumnTiles + 1];
  const RowTile tile = p.tiles[blockIdx.y];
  if (tile.expert < 0) {
    return;
  }
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const linear::DeviceSegment weight = WeightOf(p.weights, tile.expert);
  const int block_features = kWarps / k_warps * kFeatures;
  const int64_t block_feature = static_cast<int64_t>(blockIdx.x) * block_features;
  const int64_t first_feature = block_feature + warp / k_warps * kFeatures;
  const int first = warp % k_warps;
  const int64_t last_feature = weight.features - 1;
  linear::RowPointers rows[1][2];
  linear::FindRows<kKind>(weight, first_feature + lane / 4, rows);
  const auto spans = static_cast<int>(weight.spans);
  linear::SpanFragment<kKind, 1> fragments[linear::StagesOf(kKind, 1)];
  linear::LoadFirst(weight, rows, first, k_warps, spans, fragments);
  const uint16_t* x[kColumnTiles];
#pragma unroll
  for (int c = 0; c < kColumnTiles; ++c) {
    int64_t row = tile.first_row + min(8 * c + lane / 4, tile.rows - 1);  // the rest is not stored
    if (p.choice_of != nullptr) {
      row = p.choice_of[row] / p.k;
    }
    x[c] = static_cast<const uint16_t*>(p.x) + row * p.x_stride;
  }
  linear::SkinnySums<kKind, 1, kColumnTiles> sums;
  linear::AddSpans(weight, rows, first, k_warps, spans, fragments, x, sums);
  sums.Store(partial[warp]);
  __syncthreads();
  for (int i = threadIdx.x; i < block_features * tile.rows; i += 32 * kWarps) {
    const int feature = i % block_features;
    const int column = i / block_features;
    if (block_feature + feature > last_feature) {
      continue;
    }
    const float sum = linear::SumOfWarps(partial, k_warps, feature, column);
    p.out[(int64_t{tile.first_row} + column) * weight.features + block_feature + feature] = sum;
  }
}

template <linear::DeviceKind kKind>
cudaError_t RunFewRowsKind(const GroupedProduct& product, cudaStream_t stream) {
  const int k_warps = WarpsOf(product.weights.shape);
  const int64_t features = linear::kSkinnyWarps / k_warps * kFeatures;
  const dim3 grid(static_cast<unsigned>((product.weights.shape.features + features - 1) / features),
                  static_cast<unsigned>(product.tile_count));
  constexpr int kThreads = 32 * linear::kSkinnyWarps;
  if (product.tile_rows == kFewRows) {
    FewRowsKernel<kKind, 1><<<grid, kThreads, 0, stream>>>(product, k_warps);
  } else {
    FewRowsKernel<kKind, 2><<<grid, kThreads, 0, stream>>>(product, k_warps);
  }
  return cudaGetLastError();
}

cudaError_t RunFewRowsU4(const GroupedProduct& product, cudaStream_t stream);
cudaError_t RunFewRowsI8(const GroupedProduct& product, cudaStream_t stream);

}  // namespace quire::ops::moe
