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
  return hopper_prefill::RunWithTypes(problem, [&]<typename T, int kDim>() {
    return hopper_split_kv::Run<T, kDim>(problem, schedule, stream);
  });
}

}  // namespace quire::ops::attention::cuda
