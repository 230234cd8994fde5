// The kernel of cuda_many_rows.h. Each instantiation is in one of cuda_many_rows*.cu.
//
// A warp has 16 features, whose weights it reads straight into fragments, two spans ahead; the rows
// of x of a tile lie in shared memory, where all warps read them. A class that ends is added to
// sums in shared memory.
#pragma once

#include <algorithm>

#include "ops/cuda_async_copy.cuh"
#include "ops/linear/cuda/cuda_many_rows.h"
#include "ops/linear/cuda/cuda_skinny.cuh"

namespace quire::ops::linear {

inline constexpr int kManyThreads = 32 * kSkinnyWarps;
inline constexpr int kManyFeatures = 16 * kSkinnyWarps;  // of a tile
inline constexpr int kManyColumnTiles = 8;
inline constexpr int kManyColumns = 8 * kManyColumnTiles;  // rows of x of a tile
// So that the four columns and eight rows that a warp's lanes write lie in different banks.
inline constexpr int kManySumStride = kManyFeatures + 4;

// Elements of x of a span of a tile; two of them are in shared memory.
template <DeviceKind kKind>
inline constexpr int kManyStage = kManyColumns * SpanOf(kKind);
template <DeviceKind kKind>
inline constexpr int kManySharedBytes =
    2 * kManyStage<kKind> * 2 + kManyColumns * kManySumStride * 4;

// The tile and the classes of a block. Blocks along x are tiles, features of 16 tiles of rows of x
// in turn, so that those that run at once share what they read. Along y, if there are several, they
// are classes.
struct BlockPlace {
  int64_t first_feature;
  int64_t first_column;
  int class_begin;
  int class_end;
  bool shares;  // its tile with other blocks

  __device__ static BlockPlace Of(const SkinnyProduct& p, int classes) {
    constexpr int kTogether = 16;
    const auto features = static_cast<int>((p.weight.features + kManyFeatures - 1) / kManyFeatures);
    const int columns = (p.m + kManyColumns - 1) / kManyColumns;
    const int group = static_cast<int>(blockIdx.x) / (kTogether * features);
    const int in_group = static_cast<int>(blockIdx.x) % (kTogether * features);
    const int width = min(kTogether, columns - group * kTogether);
    const bool shares = gridDim.y > 1;
    const int class_begin = shares ? static_cast<int>(blockIdx.y) : 0;
    return {int64_t{in_group / width} * kManyFeatures,
            int64_t{group * kTogether + in_group % width} * kManyColumns, class_begin,
            shares ? class_begin + 1 : classes, shares};
  }
};

// The order in which a block takes spans: those of its first class, of the next, ...
struct SpanCursor {
  int k_class;
  int span;

  __device__ bool valid(const SkinnyProduct& p, int class_end) const {
    return k_class < class_end && span < p.weight.spans;
  }
  __device__ SpanCursor Next(const SkinnyProduct& p, int k_warps) const {
    return span + k_warps < p.weight.spans ? SpanCursor{k_class, span + k_warps}
                                           : SpanCursor{k_class + 1, k_class + 1};
  }
};

// Asks for span `span` of the rows of x from first_column on. Odd rows have their groups of 32
// exchanged in pairs, so that two rows lie in different banks.
template <DeviceKind kKind>
__device__ inline void FetchX(const SkinnyProduct& p, int64_t first_column, int span,
                              uint16_t* stage) {
  constexpr int kPieces = SpanOf(kKind) / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kManyColumns * kPieces; i += kManyThreads) {
    const int column = i / kPieces;
    const int piece = i % kPieces;
    const int64_t row = min(first_column + column, static_cast<int64_t>(p.m) - 1);
    const auto* from = static_cast<const uint16_t*>(p.x) + row * p.x_stride +
                       static_cast<int64_t>(span) * SpanOf(kKind) + 8 * piece;
    const uint16_t* to = stage + column * SpanOf(kKind) + 8 * (piece ^ (column % 2 * 4));
    CopyAsync(SharedAddress(to), from);
  }
  CommitCopies();
}

// Adds a class to the sums of the block.
template <DeviceKind kKind>
__device__ inline void FoldClass(const SkinnySums<kKind, 1, kManyColumnTiles>& sums,
                                 float* shared) {
  const int lane = threadIdx.x % 32;
  float* to = shared + lane % 4 * 2 * kManySumStride + threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
  for (int c = 0; c < kManyColumnTiles; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      to[(8 * c + i % 2) * kManySumStride + i / 2 * 8] += sums.sum[0][c][i];
    }
  }
}

// Adds the block's classes of its tile to `shared`.
template <DeviceKind kKind>
__device__ inline void SumTile(const SkinnyProduct& p, int k_warps, const BlockPlace& block,
                               uint16_t* stages, float* shared) {
  const int row = threadIdx.x % 32 / 4;
  RowPointers rows[1][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t feature = block.first_feature + threadIdx.x / 32 * 16 + row + 8 * half;
    rows[0][half] = PointersOf<kKind>(p.weight, min(feature, p.weight.features - 1));
  }
  SpanCursor at = {block.class_begin, block.class_begin};
  SpanCursor next = at.Next(p, k_warps);
  SpanFragment<kKind, 1> fragments[2];
  fragments[0].Load(p.weight, rows, at.span);
  if (next.valid(p, block.class_end)) {
    fragments[1].Load(p.weight, rows, next.span);
  }
  FetchX<kKind>(p, block.first_column, at.span, stages);
  SkinnySums<kKind, 1, kManyColumnTiles> sums;
  while (at.valid(p, block.class_end)) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!at.valid(p, block.class_end)) {
        break;
      }
      WaitForAllCopies();
      __syncthreads();
      if (next.valid(p, block.class_end)) {
        FetchX<kKind>(p, block.first_column, next.span, stages + (1 - i) * kManyStage<kKind>);
      }
      const uint16_t* x = stages + i * kManyStage<kKind> + row * SpanOf(kKind);
      sums.AddSpan(fragments[i], p.weight, rows, at.span, [&](int c, int group) {
        return LoadX<kKind>(x + 8 * c * SpanOf(kKind) + 32 * (group ^ (row % 2)));
      });
      if (next.k_class != at.k_class) {
        FoldClass(sums, shared);
        sums = {};
      }
      at = next;
      next = next.Next(p, k_warps);
      if (next.valid(p, block.class_end)) {
        fragments[i].Load(p.weight, rows, next.span);
      }
    }
  }
}

// Writes the sums of a tile to out, or, where blocks share it, to its class in `scratch`.
__device__ inline void StoreTile(const SkinnyProduct& p, const BlockPlace& block, const float* sums,
                                 float* scratch) {
  for (int i = threadIdx.x; i < kManyFeatures * kManyColumns; i += kManyThreads) {
    const int64_t feature = block.first_feature + i % kManyFeatures;
    const int64_t column = block.first_column + i / kManyFeatures;
    if (feature >= p.weight.features || column >= p.m) {
      continue;
    }
    const float sum = sums[i / kManyFeatures * kManySumStride + i % kManyFeatures];
    if (block.shares) {
      scratch[(int64_t{block.class_begin} * p.m + column) * p.weight.features + feature] = sum;
    } else {
      StoreSum(p, sum, feature, column, LoadBefore(p, feature, column));
    }
  }
}

template <DeviceKind kKind>
__global__ void __launch_bounds__(kManyThreads)
    ManyRowsKernel(const __grid_constant__ SkinnyProduct p, int k_warps, int classes,
                   float* scratch) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto* stages = reinterpret_cast<uint16_t*>(memory);
  auto* sums = reinterpret_cast<float*>(stages + 2 * kManyStage<kKind>);
  for (int i = threadIdx.x; i < kManyColumns * kManySumStride; i += kManyThreads) {
    sums[i] = 0.0f;
  }
  const BlockPlace block = BlockPlace::Of(p, classes);
  __syncthreads();
  SumTile<kKind>(p, k_warps, block, stages, sums);
  __syncthreads();
  StoreTile(p, block, sums, scratch);
}

template <DeviceKind kKind>
cudaError_t LaunchManyRows(const SkinnyProduct& product, int k_warps, int tile_blocks,
                           float* scratch, cudaStream_t stream) {
  if (const cudaError_t error =
          cudaFuncSetAttribute(ManyRowsKernel<kKind>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               kManySharedBytes<kKind>);
      error != cudaSuccess) {
    return error;
  }
  const int64_t features = (product.weight.features + kManyFeatures - 1) / kManyFeatures;
  const int64_t columns = (product.m + kManyColumns - 1) / kManyColumns;
  const dim3 grid(static_cast<unsigned>(features * columns), static_cast<unsigned>(tile_blocks));
  const auto classes = static_cast<int>(std::min<int64_t>(k_warps, product.weight.spans));
  ManyRowsKernel<kKind>
      <<<grid, kManyThreads, kManySharedBytes<kKind>, stream>>>(product, k_warps, classes, scratch);
  return cudaGetLastError();
}

cudaError_t RunManyRowsU4(const SkinnyProduct& product, int k_warps, int tile_blocks,
                          float* scratch, cudaStream_t stream);
cudaError_t RunManyRowsI8(const SkinnyProduct& product, int k_warps, int tile_blocks,
                          float* scratch, cudaStream_t stream);

}  // namespace quire::ops::linear
