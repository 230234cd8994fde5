// How the copy engine finds the pages of a layer's keys and values, for the kernel of
// cuda_hopper_prefill.cuh.
#pragma once

#include <cuda.h>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// What the copy engine brings at once.
enum class KvBoxes {
  kNone,   // nothing: rows come one by one
  kPages,  // a page of 8 to 128 tokens
  kRuns,   // kRunRows tokens of smaller pages, where they lie one after another
};
inline constexpr int kRunRows = 32;

// Boxes of one kv head, 64 elements wide, 128 bytes a row, swizzled. Their coordinates are the
// element, the row of the page (of all pages for runs), the kv head and the page (0 for runs).
struct KvMaps {
  CUtensorMap key = {};
  CUtensorMap value = {};
  CUtensorMap query = {};  // kHopperTileRows rows of a head; the element, the row and the head
  KvBoxes boxes = KvBoxes::kNone;
};

// Sets `maps`, which are as made. Errors: those of the driver.
Status MakeMaps(const Problem& problem, KvMaps& maps);

}  // namespace quire::ops::attention::cuda
