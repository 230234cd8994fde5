// What cuda_split_kv.cc asks of the kernels, which one file for each head size has.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "ops/attention/split_kv/cuda_split_kv.h"

namespace quire::ops::attention::cuda {

struct SplitKvArgs {
  Problem problem;
  SplitKvSchedule schedule;
};

template <typename T, int kDim>
cudaError_t LaunchSplitKv(const SplitKvArgs& args, cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
