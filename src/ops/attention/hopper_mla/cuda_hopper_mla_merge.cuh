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

// A warp merges a row of a tile; block (i, j) has rows j * kMergeWarps.. of the tile whose first
// piece's result is i, if it is one.
__global__ void __launch_bounds__(32 * kMergeWarps) MergeKernel(const __grid_constant__ Args args) {
  LetNextKernelStart();
  WaitForLastKernel();
  const Partials& partials = args.partials;
  const auto first = static_cast<int32_t>(blockIdx.x);
  if (first >= *partials.count) {
    return;
  }
  const Merge merge = partials.merge[first];
  const auto row = static_cast<int32_t>(blockIdx.y * kMergeWarps + threadIdx.x / 32);
  if (row >= merge.rows) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* const lse = partials.lse + first * kMlaTileRows + row;
  const int step = merge.step * kMlaTileRows;
  float max = MinusInfinity();
  for (int k = lane; k < merge.pieces; k += 32) {
    max = fmaxf(max, lse[k * step]);
  }
  max = MaxOfWarp(max);
  const float base = BaseOf(max);
  float sum = 0.0f;
  // Elements lane * 8 and 256 + lane * 8 on.
  constexpr int kHalf = kLatentDim / 2;
  float out[2][8] = {};
  const Element* from =
      partials.out + (int64_t{first} * kMlaTileRows + row) * kLatentDim + lane * 8;
  for (int begin = 0; begin < merge.pieces; begin += 32) {
    const int count = min(merge.pieces - begin, 32);
    const float weight = lane < count ? Exp2(lse[(begin + lane) * step] - base) : 0.0f;
    sum += weight;
#pragma unroll 8
    for (int k = 0; k < count; ++k) {
      const float of_piece = __shfl_sync(0xffffffff, weight, k);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        AddWeighted(*reinterpret_cast<const uint4*>(from + half * kHalf), of_piece, out[half]);
      }
      from += int64_t{step} * kLatentDim;
    }
  }
  const Finished finished = Finish(max, SumOfWarp(sum), nullptr, 0);
  const Problem& problem = args.problem;
  const int at = merge.first + row;
  Element* const to = static_cast<Element*>(problem.out.data) +
                      at / problem.q_heads * problem.out.row_stride +
                      at % problem.q_heads * problem.out.head_stride + lane * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] =
          Pack<Element>(out[half][2 * i] * finished.scale, out[half][2 * i + 1] * finished.scale);
    }
    *reinterpret_cast<uint4*>(to + half * kHalf) = {x[0], x[1], x[2], x[3]};
  }
  if (lane == 0 && problem.lse != nullptr) {
    problem.lse[at] = finished.lse;
  }
}

}  // namespace quire::ops::attention::cuda::hopper_mla
