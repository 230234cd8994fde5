// The kernels of cuda_split_kv.h for heads of 128 elements.
#include "ops/attention/split_kv/cuda_split_kv.cuh"

namespace quire::ops::attention::cuda {

template cudaError_t LaunchSplitKv<__nv_bfloat16, 128>(const SplitKvArgs&, cudaStream_t);
template cudaError_t LaunchSplitKv<__half, 128>(const SplitKvArgs&, cudaStream_t);

}  // namespace quire::ops::attention::cuda
