// f16 with heads of 128.
#include "ops/attention/hopper_prefill/cuda_hopper_prefill.cuh"

namespace quire::ops::attention::cuda {

template Status hopper_prefill::Run<__half, 128>(const Problem&, const HopperPrefillSchedule&,
                                                 cudaStream_t);

}  // namespace quire::ops::attention::cuda
