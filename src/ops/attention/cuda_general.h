// Attention for CUDA that takes every problem: any head size, type, cache, mask and raggedness. Not
// the fastest for anything; what the other kernels do not take runs here.
#pragma once

#include <cuda_runtime.h>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// Enqueues `problem`, whose arrays are on the device, on the stream. A row's bits depend on its
// query, its position and the keys and values that it sees alone.
Status RunGeneral(const Problem& problem, cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
