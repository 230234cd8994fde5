// The kernel that merges the results of pieces, after that of cuda_hopper_mla.cu.
#pragma once

#include "ops/attention/hopper_mla/cuda_hopper_mla_tiles.cuh"
#include "ops/cuda_elements.cuh"
#include "ops/cuda_overlapped_launch.cuh"

namespace quire::ops::attention::cuda::hopper_mla {

constexpr int kMergeWarps = 16;  // of a block, a row each

__device__ inline float MaxOfWarp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, step));
  }
  return x;
}
__device__ inline float SumOfWarp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    x += __shfl_xor_sync(0xffffffff, x, step);
  }
  return x;
}

// Adds `weight` times 8 elements.
__device__ inline void AddWeighted(const uint4& x, float weight, float (&sum)[8]) {
  const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[2 * i] = fmaf(weight, __uint_as_float(words[i] << 16), sum[2 * i]);
    sum[2 * i + 1] = fmaf(weight, __uint_as_float(words[i] & 0xffff0000), sum[2 * i + 1]);
  }
}

constexpr int kMergedAtOnce = 4;  // pieces
constexpr int kMergeBlocks = 4;   // to a multiprocessor

// What a lane has of the results of some pieces of a row: elements lane * 8 and 256 + lane * 8 on.
struct PieceElements {
  uint4 x[kMergedAtOnce][2];

  __device__ __forceinline__ void Load(const Element* from, int64_t step, int count) {
#pragma unroll
    for (int k = 0; k < kMergedAtOnce; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (k < count) {
          x[k][half] = *reinterpret_cast<const uint4*>(from + k * step + half * (kLatentDim / 2));
        }
      }
    }
  }
};

__device__ inline void StoreMerged(const Problem& problem, int at, const float (&out)[2][8],
                                   float scale) {
  Element* const to = static_cast<Element*>(problem.out.data) +
                      at / problem.q_heads * problem.out.row_stride +
                      at % problem.q_heads * problem.out.head_stride + threadIdx.x % 32 * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] = Pack<Element>(out[half][2 * i] * scale, out[half][2 * i + 1] * scale);
    }
    *reinterpret_cast<uint4*>(to + half * (kLatentDim / 2)) = {x[0], x[1], x[2], x[3]};
  }
}

// A warp merges a row of a tile.
__device__ inline void MergeRow(const Args& args, const Merge& merge, int32_t row) {
  const Partials& partials = args.partials;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* const lse = partials.lse + merge.partial * kMlaTileRows + row;
  const Element* from =
      partials.out + (int64_t{merge.partial} * kMlaTileRows + row) * kLatentDim + lane * 8;
  const int step = merge.step * kMlaTileRows;
  PieceElements elements;
  elements.Load(from, int64_t{step} * kLatentDim, merge.pieces);
  float max = MinusInfinity();
  for (int k = lane; k < merge.pieces; k += 32) {
    max = fmaxf(max, lse[k * step]);
  }
  max = MaxOfWarp(max);
  const float base = BaseOf(max);
  float sum = 0.0f;
  float out[2][8] = {};
  for (int begin = 0; begin < merge.pieces; begin += kMergedAtOnce) {
    const int count = min(merge.pieces - begin, kMergedAtOnce);
    if (begin > 0) {
      elements.Load(from, int64_t{step} * kLatentDim, count);
    }
    const float weight = lane < count ? Exp2(lse[(begin + lane) * step] - base) : 0.0f;
    sum += weight;
#pragma unroll
    for (int k = 0; k < kMergedAtOnce; ++k) {
      const float of_piece = __shfl_sync(0xffffffff, weight, k);
      if (k < count) {
        AddWeighted(elements.x[k][0], of_piece, out[0]);
        AddWeighted(elements.x[k][1], of_piece, out[1]);
      }
    }
    from += int64_t{step} * kLatentDim * kMergedAtOnce;
  }
  const Finished finished = Finish(max, SumOfWarp(sum), nullptr, 0);
  const int at = merge.first + row;
  StoreMerged(args.problem, at, out, finished.scale);
  if (lane == 0 && args.problem.lse != nullptr) {
    args.problem.lse[at] = finished.lse;
  }
}

// Each block takes some rows of a tile, if there are any, and then those that lie as many parts of
// tiles behind as there are blocks.
__global__ void __launch_bounds__(32 * kMergeWarps) MergeKernel(const __grid_constant__ Args args) {
  LetNextKernelStart();
  WaitForLastKernel();
  constexpr auto kParts = static_cast<unsigned>(kMlaTileRows / kMergeWarps);  // of a tile
  const Merge* const merges = args.partials.merge;
  unsigned part = blockIdx.x;
  Merge merge = merges[part / kParts];  // if there is one: it comes while the count does
  const auto parts = static_cast<unsigned>(*args.partials.count) * kParts;
  while (part < parts) {
    const auto row = static_cast<int32_t>(part % kParts * kMergeWarps + threadIdx.x / 32);
    if (row < merge.rows) {
      MergeRow(args, merge, row);
    }
    part += gridDim.x;
    if (part < parts) {
      merge = merges[part / kParts];
    }
  }
}

}  // namespace quire::ops::attention::cuda::hopper_mla
