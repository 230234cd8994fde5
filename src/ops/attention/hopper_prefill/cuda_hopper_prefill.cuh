// The kernel of cuda_hopper_prefill.h. Each instantiation is in one of cuda_hopper_prefill*.cu.
//
// A block keeps to its multiprocessor and takes tile after tile. Four warps gather queries, keys
// and values into shared memory; two warpgroups have 64 rows of the tile each. A warpgroup asks for
// the scores of the next keys before it turns those at hand into weights, and the two take turns at
// the tensor cores, so that the exponentials of one run beside the products of the other.
#pragma once

#include <cutlass/arch/reg_reconfig.h>

#include "ops/attention/hopper_prefill/cuda_hopper_prefill_launch.cuh"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill_load.cuh"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill_multiply.cuh"

namespace quire::ops::attention::cuda {

namespace hopper_prefill {

// Of each warp one thread arrives, of queries the one that asks the copy engine.
__device__ inline void InitBarriers(Barriers& barriers) {
  for (int i = 0; i < kStages; ++i) {
    Barrier::init(barriers.query_full + i, 1);
    Barrier::init(barriers.key_full + i, kLoadWarps);
    Barrier::init(barriers.query_empty + i, kGroups * 4);
    Barrier::init(barriers.key_empty + i, kGroups * 4);
  }
  for (int i = 0; i < kMaxValueStages; ++i) {
    Barrier::init(barriers.value_full + i, kLoadWarps);
    Barrier::init(barriers.value_empty + i, kGroups * 4);
  }
  cutlass::arch::fence_barrier_init();
}

template <typename T, int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    Kernel(const __grid_constant__ Problem problem,
           const __grid_constant__ HopperPrefillSchedule schedule,
           const __grid_constant__ KvMaps maps) {
  extern __shared__ uint8_t memory[];
  const auto base = reinterpret_cast<uintptr_t>(memory);
  uint8_t* const query = memory + (kAlignment - base % kAlignment) % kAlignment;
  uint8_t* const key = query + kStages * kTileBytes<kDim>;
  uint8_t* const value = key + kStages * kTileBytes<kDim>;
  auto* const barriers = reinterpret_cast<Barriers*>(value + kValueStages<kDim> * kTileBytes<kDim>);
  const Shared shared = {query, key, value, barriers, reinterpret_cast<Turn*>(barriers + 1)};
  if (threadIdx.x == 0) {
    InitBarriers(*barriers);
  }
  __syncthreads();
  if (threadIdx.x < kLoadThreads) {
    cutlass::arch::warpgroup_reg_dealloc<56>();
    Loader<kDim, kStages, kValueStages<kDim>>(problem, schedule, maps, shared).Load();
  } else {
    cutlass::arch::warpgroup_reg_alloc<224>();
    Multiplier<T, kDim>(problem, shared).Multiply(schedule);
  }
}

template <typename T, int kDim>
Status Run(const Problem& problem, const HopperPrefillSchedule& schedule, cudaStream_t stream) {
  return Launch(Kernel<T, kDim>, kSharedBytes<kDim>, "hopper_prefill", problem, schedule, stream);
}

// In the other files of this kernel.
extern template Status Run<__nv_bfloat16, 64>(const Problem&, const HopperPrefillSchedule&,
                                              cudaStream_t);
extern template Status Run<__half, 128>(const Problem&, const HopperPrefillSchedule&, cudaStream_t);
extern template Status Run<__half, 64>(const Problem&, const HopperPrefillSchedule&, cudaStream_t);

}  // namespace hopper_prefill

}  // namespace quire::ops::attention::cuda
