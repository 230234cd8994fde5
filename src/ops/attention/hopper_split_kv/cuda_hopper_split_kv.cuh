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
    Loader<kDim, kQueryStages>(problem, schedule, maps, shared).Load();
  } else {
    cutlass::arch::warpgroup_reg_alloc<232>();
    LocalMemory<kDim> rows;
    Multiplier<T, kDim>(problem, shared, span, rows.Sums()).Multiply(schedule);
  }
}

template <typename T, int kDim>
Status Run(const Problem& problem, const HopperPrefillSchedule& schedule, cudaStream_t stream) {
  const auto kernel = Kernel<T, kDim>;
  QUIRE_RETURN_IF_ERROR(CudaStatus(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes<kDim>),
      "hopper_split_kv"));
  KvMaps maps;
  QUIRE_RETURN_IF_ERROR(MakeMaps(problem, maps));
  kernel<<<static_cast<unsigned>(schedule.blocks), kThreads, kSharedBytes<kDim>, stream>>>(
      problem, schedule, maps);
  return LaunchStatus("hopper_split_kv");
}

}  // namespace hopper_split_kv

Status RunHopperSplitKvD64(const Problem& problem, const HopperPrefillSchedule& schedule,
                           cudaStream_t stream);
Status RunHopperSplitKvF16(const Problem& problem, const HopperPrefillSchedule& schedule,
                           cudaStream_t stream);
Status RunHopperSplitKvF16D64(const Problem& problem, const HopperPrefillSchedule& schedule,
                              cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
