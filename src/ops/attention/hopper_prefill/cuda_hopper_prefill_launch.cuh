// How the kernels that take the tiles of a HopperPrefillSchedule are launched.
#pragma once

#include <string_view>

#include "ops/attention/hopper_prefill/cuda_hopper_prefill_maps.h"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill_tiles.cuh"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::attention::cuda::hopper_prefill {

using HopperKernel = void(Problem, HopperPrefillSchedule, KvMaps);

// Enqueues `kernel`, with kThreads threads and `shared_bytes` of shared memory a block.
inline Status Launch(HopperKernel* kernel, int shared_bytes, std::string_view name,
                     const Problem& problem, const HopperPrefillSchedule& schedule,
                     cudaStream_t stream) {
  QUIRE_RETURN_IF_ERROR(CudaStatus(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
      name));
  KvMaps maps;
  QUIRE_RETURN_IF_ERROR(MakeMaps(problem, maps));
  kernel<<<static_cast<unsigned>(schedule.blocks), kThreads, shared_bytes, stream>>>(
      problem, schedule, maps);
  return LaunchStatus(name);
}

// Calls run<T, kDim>() with the type and the head size of `problem`.
template <typename Run>
Status RunWithTypes(const Problem& problem, const Run& run) {
  const bool half = problem.kv_dtype == DType::kF16;
  if (problem.key_dim == 64) {
    return half ? run.template operator()<__half, 64>()
                : run.template operator()<__nv_bfloat16, 64>();
  }
  return half ? run.template operator()<__half, 128>()
              : run.template operator()<__nv_bfloat16, 128>();
}

}  // namespace quire::ops::attention::cuda::hopper_prefill
