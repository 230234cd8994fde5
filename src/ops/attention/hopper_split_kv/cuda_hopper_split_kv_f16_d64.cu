// f16 with heads of 64.
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv.cuh"

namespace quire::ops::attention::cuda {

template Status hopper_split_kv::Run<__half, 64>(const Problem&, const HopperPrefillSchedule&,
                                                 cudaStream_t);

}  // namespace quire::ops::attention::cuda
