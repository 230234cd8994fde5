// Multi-head latent attention for CUDA by FlashInfer's kernel for Hopper (Ye et al., 2025): bf16,
// latents of 512 elements with 64 rotated ones, pages of any size. Which pieces a tile of rows is
// cut into depends on the whole batch: a row may differ in its last bits from one batch to the
// next.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// Whether the kernel takes the types, sizes and strides of `problem`, a causal one; "" or the
// reason why not. The device must be of capability 9.0 besides.
std::string_view WhyNotFlashInferMla(const Problem& problem);

// Memory that a run takes on a device with so many multiprocessors.
size_t FlashInferMlaScratchBytes(const Problem& problem, int multiprocessors);

// Enqueues `problem`, whose arrays are on the device, on the stream. `scratch` is aligned to 16
// bytes. REQUIRES: WhyNotFlashInferMla is "".
Status RunFlashInferMla(const Problem& problem, int multiprocessors, void* scratch,
                        cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
