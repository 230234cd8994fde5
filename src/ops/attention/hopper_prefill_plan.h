// How the rows of a step's chunks of prompts are cut into tiles for the kernel hopper_prefill. Made
// on the host, once a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quire::ops::attention {

inline constexpr int32_t kHopperTileRows = 128;

// Up to kHopperTileRows rows of a sequence, for the query heads of one kv head.
struct HopperTile {
  int32_t sequence = 0;
  int32_t first_row = 0;  // of the step
  int32_t rows = 0;
  int32_t position = 0;  // of the first row; the last row sees keys up to its own position
  int32_t kv_head = 0;
  int32_t unused[3] = {};
};

// The tiles of the sequences [begin, end) of a step, on the host: long ones first, those that share
// keys together. O(n log n) of the tiles. REQUIRES: no sequence has more rows than keys.
std::vector<HopperTile> PlanHopperPrefill(std::span<const int32_t> query_start,
                                          std::span<const int32_t> kv_length, int32_t begin,
                                          int32_t end, int32_t kv_heads);

}  // namespace quire::ops::attention
