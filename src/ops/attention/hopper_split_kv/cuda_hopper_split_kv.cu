// bf16 with heads of 128, and the choice among all.
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv.cuh"
#include "ops/attention/split_kv/cuda_split_kv.h"

namespace quire::ops::attention::cuda {

std::string_view WhyNotHopperSplitKv(const Problem& problem) {
  const std::string_view reason = WhyNotHopperPrefill(problem);
  return reason.empty() ? WhyNotSplitKv(problem) : reason;
}

Status RunHopperSplitKv(const Problem& problem, const HopperPrefillSchedule& schedule,
                        cudaStream_t stream) {
  const bool half = problem.kv_dtype == DType::kF16;
  if (problem.key_dim == 64) {
    return half ? RunHopperSplitKvF16D64(problem, schedule, stream)
                : RunHopperSplitKvD64(problem, schedule, stream);
  }
  return half ? RunHopperSplitKvF16(problem, schedule, stream)
              : hopper_split_kv::Run<__nv_bfloat16, 128>(problem, schedule, stream);
}

}  // namespace quire::ops::attention::cuda
