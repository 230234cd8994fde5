// Multi-head latent attention by the tensor cores of sm_90a: bf16, latents of 512 elements with 64
// rotated ones, pages of 8 tokens and more, any number of heads; decode and verification rows.
//
// Which pieces a row's keys are cut into depends on the lengths of the whole batch: a row may
// differ in its last bits from one batch to the next.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// Why the kernel cannot serve `problem`, a causal one; "" if it can. The device must be of
// capability 9.0 besides.
std::string_view WhyNotHopperMla(const Problem& problem);

// Memory that a run takes on a device with so many multiprocessors.
size_t HopperMlaScratchBytes(int multiprocessors);

// Enqueues `problem`, whose arrays are on the device, on the stream. `scratch` is aligned to 16
// bytes. REQUIRES: WhyNotHopperMla is "".
Status RunHopperMla(const Problem& problem, int multiprocessors, void* scratch,
                    cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
