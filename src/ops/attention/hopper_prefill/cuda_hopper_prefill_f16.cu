// f16 with heads of 128.
#include "ops/attention/hopper_prefill/cuda_hopper_prefill.cuh"

namespace quire::ops::attention::cuda {

Status RunHopperPrefillF16(const Problem& problem, const HopperPrefillSchedule& schedule,
                           cudaStream_t stream) {
  return hopper_prefill::Run<__half, 128>(problem, schedule, stream);
}

}  // namespace quire::ops::attention::cuda
