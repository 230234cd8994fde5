// Device code: the rows of x of a SkinnyProduct, normed into the shared memory of a block. The bits
// are those of rms_norm: the warps stand for the groups of 32 threads that share a row there.
#pragma once

#include "ops/cuda_async_copy.cuh"
#include "ops/cuda_overlapped_launch.cuh"
#include "ops/linear/cuda/cuda_codes.cuh"
#include "ops/linear/cuda/cuda_skinny.h"
#include "ops/rms_norm/cuda_normed.cuh"

namespace quire::ops::linear {

// Elements from one row to the next: fragments of the rows lie in different banks.
constexpr int64_t NormedStride(int64_t k) {
  return k + 32;
}

// Calls body(row, group) for each of the `groups` of the rows that falls to a warp.
template <typename Body>
__device__ inline void ForGroups(int rows, int groups, const Body& body) {
  for (int i = threadIdx.x / 32; i < rows * groups; i += blockDim.x / 32) {
    body(i / groups, i % groups);
  }
}

// Two elements rounded to the type of x, where the payload of a NaN is lost.
template <DeviceKind kKind>
__device__ inline uint32_t RoundedPair(float low, float high) {
  if constexpr (kKind == DeviceKind::kF16) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    return BitsOf(__floats2bfloat162_rn(low, high));
  }
}

// Elements [at, at + 8) of each row become normed ones.
template <DeviceKind kKind, typename X>
__device__ inline void ScaleColumns(const SkinnyProduct& p, const float* scales,
                                    const float* weight, X* rows, int stride, int at) {
  float w[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    w[i] = weight[at + i] + p.norm.weight_offset;
  }
  for (int r = 0; r < p.m; ++r) {
    auto* const pack = reinterpret_cast<Pack<X, 8>*>(rows + r * stride + at);
    const Pack<X, 8> x = *pack;
    uint4 normed;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      (&normed.x)[i] =
          RoundedPair<kKind>(rms_norm::Scaled(Widen(x.values[2 * i]), scales[r], w[2 * i]),
                             rms_norm::Scaled(Widen(x.values[2 * i + 1]), scales[r], w[2 * i + 1]));
    }
    *reinterpret_cast<uint4*>(pack) = normed;
  }
}

// Norms the rows of p.x and returns row `row`. Waits for the kernel before this one. `groups` of 32
// threads share a row in rms_norm.
template <DeviceKind kKind>
__device__ inline const uint16_t* NormedRow(const SkinnyProduct& p, int groups, int row) {
  using X = std::conditional_t<kKind == DeviceKind::kF16, Half, BFloat16>;
  constexpr int kPack = kPackOf<X>;
  extern __shared__ uint4 normed_memory[];
  __shared__ float group_sums[kMaxNormedRows * 32];
  __shared__ float scales[kMaxNormedRows];
  const auto k = static_cast<int>(p.weight.spans * SpanOf(kKind));
  const auto stride = static_cast<int>(NormedStride(k));
  auto* weight = reinterpret_cast<float*>(normed_memory);
  auto* rows = reinterpret_cast<X*>(weight + k);
  const int step = 32 * groups * kPack;
  const int lane = threadIdx.x % 32;
  for (int i = 4 * static_cast<int>(threadIdx.x); i < k; i += 4 * static_cast<int>(blockDim.x)) {
    CopyAsync(SharedAddress(weight + i), p.norm.weight + i);
  }
  WaitForLastKernel();
  ForGroups(p.m, groups, [&](int r, int group) {
    for (int at = (32 * group + lane) * kPack; at < k; at += step) {
      CopyAsync(SharedAddress(rows + r * stride + at),
                static_cast<const X*>(p.x) + r * p.x_stride + at);
    }
  });
  WaitForAllCopies();
  ForGroups(p.m, groups, [&](int r, int group) {
    float sum = 0;
    for (int at = (32 * group + lane) * kPack; at < k; at += step) {
      sum = rms_norm::SquareSum(LoadPack<true, kPack>(rows + r * stride, at, k), sum);
    }
    sum = GroupSum(sum, 32);
    if (lane == 0) {
      group_sums[r * groups + group] = sum;
    }
  });
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < p.m) {
    float sum = 0;
    for (int g = 0; g < groups; ++g) {
      sum += group_sums[threadIdx.x * groups + g];
    }
    scales[threadIdx.x] = rms_norm::ScaleOf(sum, k, p.norm.epsilon);
  }
  __syncthreads();
  for (int at = 8 * static_cast<int>(threadIdx.x); at < k; at += 8 * static_cast<int>(blockDim.x)) {
    ScaleColumns<kKind>(p, scales, weight, rows, stride, at);
  }
  __syncthreads();
  return reinterpret_cast<const uint16_t*>(rows + row * stride);
}

}  // namespace quire::ops::linear
