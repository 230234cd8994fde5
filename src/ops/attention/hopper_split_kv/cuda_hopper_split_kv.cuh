// The kernel of cuda_hopper_split_kv.h. Each instantiation is in one of cuda_hopper_split_kv*.cu.
//
// Registers have the sums of a part and of its chunk; that of the span is in the shared memory
// where hopper_prefill has a second tile of queries.
#pragma once

#include "ops/attention/hopper_prefill/cuda_hopper_prefill.cuh"
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv.h"
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv_multiply.cuh"

namespace quire::ops::attention::cuda {

namespace hopper_split_kv {

constexpr int kQueryStages = 1;
template <int kDim>
constexpr int kSpanBytes = kHopperTileRows * kDim * 4;
template <int kDim>
constexpr int kSharedBytes =
    kAlignment + (kQueryStages + 2 * kStages) * kTileBytes<kDim> + kSpanBytes<kDim> +
    static_cast<int>(sizeof(Barriers) + kQueryStages * sizeof(Turn));

template <typename T, int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    Kernel(const __grid_constant__ Problem problem,
           const __grid_constant__ HopperPrefillSchedule schedule,
           const __grid_constant__ KvMaps maps) {
  extern __shared__ uint8_t memory[];
  const auto base = reinterpret_cast<uintptr_t>(memory);
  uint8_t* const query = memory + (kAlignment - base % kAlignment) % kAlignment;
  uint8_t* const key = query + kQueryStages * kTileBytes<kDim>;
  uint8_t* const value = key + kStages * kTileBytes<kDim>;
  uint8_t* const span = value + kStages * kTileBytes<kDim>;
  auto* const barriers = reinterpret_cast<Barriers*>(span + kSpanBytes<kDim>);
  const Shared shared = {query, key, value, barriers, reinterpret_cast<Turn*>(barriers + 1)};
  if (threadIdx.x == 0) {
    InitBarriers(*barriers);
  }
  __syncthreads();
  if (threadIdx.x < kLoadThreads) {
    cutlass::arch::warpgroup_reg_dealloc<40>();
    Loader<kDim, kQueryStages, kStages>(problem, schedule, maps, shared).Load();
  } else {
    cutlass::arch::warpgroup_reg_alloc<232>();
    LocalMemory<kDim> rows;
    Multiplier<T, kDim>(problem, shared, span, rows.Sums()).Multiply(schedule);
  }
}

template <typename T, int kDim>
Status Run(const Problem& problem, const HopperPrefillSchedule& schedule, cudaStream_t stream) {
  return Launch(Kernel<T, kDim>, kSharedBytes<kDim>, "hopper_split_kv", problem, schedule, stream);
}

// In the other files of this kernel.
extern template Status Run<__nv_bfloat16, 64>(const Problem&, const HopperPrefillSchedule&,
                                              cudaStream_t);
extern template Status Run<__half, 128>(const Problem&, const HopperPrefillSchedule&, cudaStream_t);
extern template Status Run<__half, 64>(const Problem&, const HopperPrefillSchedule&, cudaStream_t);

}  // namespace hopper_split_kv

}  // namespace quire::ops::attention::cuda
