// f16 with heads of 128.
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv.cuh"

namespace quire::ops::attention::cuda {

Status RunHopperSplitKvF16(const Problem& problem, const HopperPrefillSchedule& schedule,
                           cudaStream_t stream) {
  return hopper_split_kv::Run<__half, 128>(problem, schedule, stream);
}

}  // namespace quire::ops::attention::cuda
