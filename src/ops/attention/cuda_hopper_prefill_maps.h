// How the copy engine finds the pages of a layer's keys and values, for the kernel of
// cuda_hopper_prefill.cuh.
#pragma once

#include <cuda.h>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// Boxes of one page and kv head, 64 elements wide, 128 bytes a row, swizzled.
struct KvMaps {
  CUtensorMap key = {};
  CUtensorMap value = {};
  bool exist = false;  // false: pages are too small or too large for it
};

// Sets `maps`, which are as made. Errors: those of the driver.
Status MakeMaps(const Problem& problem, KvMaps& maps);

}  // namespace quire::ops::attention::cuda
