// bf16 with heads of 64.
#include "ops/attention/hopper_prefill/cuda_hopper_prefill.cuh"

namespace quire::ops::attention::cuda {

Status RunHopperPrefillD64(const Problem& problem, const HopperPrefillSchedule& schedule,
                           cudaStream_t stream) {
  return hopper_prefill::Run<__nv_bfloat16, 64>(problem, schedule, stream);
}

}  // namespace quire::ops::attention::cuda
