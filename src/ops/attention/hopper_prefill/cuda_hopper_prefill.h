// Causal attention of chunks of prompts over paged keys and values, by the tensor cores of sm_90a:
// the schedule of FlashAttention-3 (Shah et al., 2024). Any page size; pages of 8 to 128 tokens,
// and smaller ones that lie one after another, come by the copy engine and are fastest.
//
// A row's bits depend only on its query, its position and the keys and values that it sees: tiles
// of 128 keys start at key 0 and are taken in ascending order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "ops/attention/attention_problem.h"
#include "ops/attention/hopper_prefill/hopper_prefill_plan.h"

namespace quire::ops::attention::cuda {

// A plan on the device.
struct HopperPrefillSchedule {
  const HopperTile* tiles = nullptr;
  const int32_t* block_start = nullptr;
  int32_t blocks = 0;
};

// Why the kernel cannot serve `problem`; "" if it can.
std::string_view WhyNotHopperPrefill(const Problem& problem);

// Enqueues the rows of the schedule's tiles. REQUIRES: WhyNotHopperPrefill(problem) is "".
Status RunHopperPrefill(const Problem& problem, const HopperPrefillSchedule& schedule,
                        cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
