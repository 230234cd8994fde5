// Chunks of prompts with the bits of split_kv (cuda_split_kv.h) at several times its speed, by the
// tensor cores of sm_90a: the loader, the tiles and the plan are those of cuda_hopper_prefill.h.
//
// Each row goes through the arithmetic of split_kv: parts of 64 keys, each relative to the largest
// of its own scores, folded into chunks, spans and the row in ascending order. wgmma has the bits
// of the mma.sync that split_kv uses.
#pragma once

#include "ops/attention/hopper_prefill/cuda_hopper_prefill.h"

namespace quire::ops::attention::cuda {

// Why the kernel cannot serve `problem`; "" if it can, and then WhyNotSplitKv is "" too.
std::string_view WhyNotHopperSplitKv(const Problem& problem);

// Enqueues the rows of the schedule's tiles. REQUIRES: WhyNotHopperSplitKv(problem) is "".
Status RunHopperSplitKv(const Problem& problem, const HopperPrefillSchedule& schedule,
                        cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
