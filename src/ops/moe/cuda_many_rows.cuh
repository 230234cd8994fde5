// The kernel of cuda_many_rows.h. Each instantiation is in one of cuda_many_rows*.cu.
//
// A block multiplies a tile of 128 rows of one expert with 256 of its features. All its threads
// bring steps of 64 elements of K to shared memory two ahead, rows by the address that their choice
// has, codes decoded to bf16, and its two warpgroups take 64 rows each. Where a gate and its up
// belong together, half of the features are gates and half are ups, so that both lie in one thread.
#pragma once

#include <flashinfer/attention/hopper.cuh>

#include "ops/act_and_mul/cuda_activated.cuh"
#include "ops/cuda_async_copy.cuh"
#include "ops/moe/cuda_many_rows.h"
#include "ops/moe/cuda_many_rows_steps.cuh"
#include "ops/moe/cuda_weight_of.cuh"

namespace quire::ops::moe {

namespace many_rows {

namespace fi = flashinfer;

constexpr int kStages = 4;
constexpr int kAhead = kStages - 2;  // a stage is written again when all are done with it
constexpr int kAlignment = 1024;     // of the pattern in which rows are swizzled
constexpr int kSharedBytes = kStages * kStageBytes + kAlignment;

// acc [64, 256] += the step in `stage` for the rows of this warpgroup.
template <typename T>
__device__ __forceinline__ void MultiplyStep(uint8_t* stage, int group, float (&acc)[128]) {
  using cute::SM90::GMMA::Major;
  using cute::SM90::GMMA::ScaleIn;
  using Product = fi::WGMMA_ASYNC_SS<T, float, 64, kFeatures, 16, Major::K, Major::K, ScaleIn::One,
                                     ScaleIn::One>;
  constexpr auto kSwizzle = fi::SwizzleMode::k128B;
  uint64_t x = fi::make_smem_desc<kSwizzle, 16, 8 * kRowBytes>(
      reinterpret_cast<T*>(stage + group * 64 * kRowBytes));
  uint64_t weight =
      fi::make_smem_desc<kSwizzle, 16, 8 * kRowBytes>(reinterpret_cast<T*>(stage + kXBytes));
  fi::warpgroup_fence_frag<128>(acc);
  fi::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // 16 elements are 32 bytes, 2 in a descriptor
    Product::template op<false>(x + 2 * i, weight + 2 * i, acc);
  }
  fi::warpgroup_commit_batch();
  fi::warpgroup_fence_frag<128>(acc);
}

// Of element i of a thread's sums.
__device__ __forceinline__ int RowOf(int i) {
  const auto thread = static_cast<int>(threadIdx.x);
  return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
__device__ __forceinline__ int FeatureOf(int i) {
  return i / 4 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
}

template <typename T>
__device__ void StoreGated(const Activate& a, const RowTile& tile, int64_t first_feature,
                           const float (&acc)[128]) {
#pragma unroll
  for (int i = 0; i < 64; i += 2) {
    const int64_t feature = first_feature + FeatureOf(i);
    if (RowOf(i) >= tile.rows || feature >= a.k_padded) {
      continue;
    }
    T pair[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float value = act_and_mul::Activated(acc[i + j], a.activation) * acc[i + j + 64];
      pair[j] = static_cast<T>(feature + j < a.features ? value : 0.0f);
    }
    T* const to = static_cast<T*>(a.out) + (int64_t{tile.first_row} + RowOf(i)) * a.k_padded;
    *reinterpret_cast<uint32_t*>(to + feature) = *reinterpret_cast<const uint32_t*>(pair);
  }
}

__device__ inline void StoreSums(const GroupedProduct& p, const RowTile& tile,
                                 int64_t first_feature, const float (&acc)[128]) {
  const int64_t features = p.weights.shape.features;
#pragma unroll
  for (int i = 0; i < 128; ++i) {
    const int64_t feature = first_feature + FeatureOf(i);
    if (RowOf(i) < tile.rows && feature < features) {
      p.out[(int64_t{tile.first_row} + RowOf(i)) * features + feature] = acc[i];
    }
  }
}

// The elements that meet.
template <linear::DeviceKind kKind>
using ElementOf = std::conditional_t<kKind == linear::DeviceKind::kF16, __half, __nv_bfloat16>;

// Step `step`, the kStep'th of its span.
template <int kStep, linear::DeviceKind kKind, bool kGated>
__device__ __forceinline__ void TakeStep(uint8_t* stages, int step, int steps, const RowTile& tile,
                                         const XRows& x, WeightRows<kKind, kGated>& weights,
                                         float (&acc)[128]) {
  WaitForCopies<kAhead - 1>();
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group * 64 < tile.rows) {
    MultiplyStep<ElementOf<kKind>>(stages + step % kStages * kStageBytes, group, acc);
  }
  const int next = step + kAhead;
  const uint32_t stage = SharedAddress(stages + next % kStages * kStageBytes);
  if (next < steps) {
    x.Fetch(stage, next);
  }
  weights.template Bring<(kStep + kAhead) % WeightRows<kKind, kGated>::kSteps>(stage, next, steps);
  CommitCopies();
  fi::warpgroup_wait<1>();
}

template <linear::DeviceKind kKind, bool kGated>
__global__ void __launch_bounds__(kThreads, 1)
    ManyRowsKernel(const __grid_constant__ GroupedProduct p, const __grid_constant__ Activate a) {
  using Rows = WeightRows<kKind, kGated>;
  extern __shared__ uint8_t memory[];
  const RowTile tile = p.tiles[blockIdx.y];
  if (tile.expert < 0) {
    return;
  }
  const auto base = reinterpret_cast<uintptr_t>(memory);
  uint8_t* const stages = memory + (kAlignment - base % kAlignment) % kAlignment;
  const uint32_t address = SharedAddress(stages);
  const int64_t first_feature = int64_t{blockIdx.x} * (kGated ? kFeatures / 2 : kFeatures);
  const linear::DeviceSegment weight = WeightOf(p.weights, tile.expert);
  const XRows x(p, tile);
  Rows weights(weight, first_feature);
  const auto steps = static_cast<int>(weight.spans) * Rows::kSteps;
  static_assert(kAhead == 2);
  weights.Start(steps);
  x.Fetch(address, 0);
  weights.template Bring<0>(address, 0, steps);
  CommitCopies();
  if (steps > 1) {
    x.Fetch(address + kStageBytes, 1);
  }
  weights.template Bring<1 % Rows::kSteps>(address + kStageBytes, 1, steps);
  CommitCopies();
  float acc[128] = {};
  for (int step = 0; step < steps; step += Rows::kSteps) {
    TakeStep<0>(stages, step, steps, tile, x, weights, acc);
    if constexpr (Rows::kSteps >= 2) {
      TakeStep<1>(stages, step + 1, steps, tile, x, weights, acc);
    }
    if constexpr (Rows::kSteps == 4) {
      TakeStep<2>(stages, step + 2, steps, tile, x, weights, acc);
      TakeStep<3>(stages, step + 3, steps, tile, x, weights, acc);
    }
  }
  fi::warpgroup_wait<0>();
  fi::warpgroup_fence_frag<128>(acc);
  if constexpr (kGated) {
    StoreGated<ElementOf<kKind>>(a, tile, first_feature, acc);
  } else {
    StoreSums(p, tile, first_feature, acc);
  }
}

template <linear::DeviceKind kKind, bool kGated>
cudaError_t Launch(const GroupedProduct& product, const Activate& gated, cudaStream_t stream) {
  const auto kernel = ManyRowsKernel<kKind, kGated>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
      error != cudaSuccess) {
    return error;
  }
  const int64_t features = kGated ? gated.k_padded : product.weights.shape.features;
  constexpr int64_t kOfBlock = kGated ? kFeatures / 2 : kFeatures;
  const dim3 grid(static_cast<unsigned>((features + kOfBlock - 1) / kOfBlock),
                  static_cast<unsigned>(product.tile_count));
  kernel<<<grid, kThreads, kSharedBytes, stream>>>(product, gated);
  return cudaGetLastError();
}

template <linear::DeviceKind kKind>
cudaError_t RunKind(const GroupedProduct& product, const Activate* gated, cudaStream_t stream) {
  return gated != nullptr ? Launch<kKind, true>(product, *gated, stream)
                          : Launch<kKind, false>(product, {}, stream);
}

}  // namespace many_rows

cudaError_t RunManyRowsU4(const GroupedProduct& product, const Activate* gated,
                          cudaStream_t stream);
cudaError_t RunManyRowsI8(const GroupedProduct& product, const Activate* gated,
                          cudaStream_t stream);

}  // namespace quire::ops::moe
