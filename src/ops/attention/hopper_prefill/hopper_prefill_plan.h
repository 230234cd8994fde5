// How the rows of a step's chunks of prompts are cut into tiles for the kernel hopper_prefill. Made
// on the host, once a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quire::ops::attention {

inline constexpr int32_t kHopperTileRows = 128;

// Up to kHopperTileRows rows of a sequence, for a query head.
struct HopperTile {
  int32_t sequence = 0;
  int32_t first_row = 0;  // of the step
  int32_t rows = 0;
  int32_t position = 0;  // of the first row; the last row sees keys up to its own position
  int32_t kv_head = 0;
  int32_t head = 0;
  int32_t unused[2] = {};
};

// Each block of the kernel takes the tiles [block_start[b], block_start[b + 1]).
struct HopperPrefillPlan {
  std::vector<HopperTile> tiles;
  std::vector<int32_t> block_start;
};

// What a plan is made for: the sequences [begin, end) of a step, of which none has more rows than
// keys.
struct HopperPrefillShape {
  std::span<const int32_t> query_start;  // [B + 1]
  std::span<const int32_t> kv_length;    // [B]
  int32_t begin = 0;
  int32_t end = 0;
  int32_t group = 1;
  int32_t kv_heads = 1;
  int32_t blocks = 1;  // that the device runs at once
};

// Long tiles first, each to the block that has the least to do; tiles that share keys run at about
// the same time. O(n log n) of the tiles.
HopperPrefillPlan PlanHopperPrefill(const HopperPrefillShape& shape);

}  // namespace quire::ops::attention
