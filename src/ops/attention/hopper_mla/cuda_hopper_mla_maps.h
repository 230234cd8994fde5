// How the copy engine finds the pages of a latent cache and the queries for it, for the kernel of
// cuda_hopper_mla.cu.
#pragma once

#include <cuda.h>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// Boxes of rows, 64 elements wide, 128 bytes a row, swizzled.
struct LatentMap {
  CUtensorMap map = {};
  bool exists = false;
};

// Of a page's rows, up to `box` of them, by element, row and page. There is none of pages of less
// than kSwizzledRows. Errors: those of the driver.
Status MakeLatentMap(const Problem& problem, int32_t box, LatentMap& map);

// Of queries, all heads of all rows one after the other: `box` of them, by element and head. There
// is none where rows do not continue those before them. Errors: those of the driver.
Status MakeQueryMap(const Problem& problem, int32_t box, LatentMap& map);

}  // namespace quire::ops::attention::cuda
