#include "ops/attention/hopper_prefill_plan.h"

#include <algorithm>
#include <tuple>

namespace quire::ops::attention {

namespace {

// Tiles whose work is about the same, of this many degrees, may run in any order.
constexpr int64_t kDegrees = 8;

}  // namespace

std::vector<HopperTile> PlanHopperPrefill(std::span<const int32_t> query_start,
                                          std::span<const int32_t> kv_length, int32_t begin,
                                          int32_t end, int32_t kv_heads) {
  std::vector<HopperTile> tiles;
  int32_t longest = 1;
  for (int32_t b = begin; b < end; ++b) {
    const auto at = static_cast<size_t>(b);
    const int32_t rows = query_start[at + 1] - query_start[at];
    for (int32_t row = 0; row < rows; row += kHopperTileRows) {
      const HopperTile tile = {.sequence = b,
                               .first_row = query_start[at] + row,
                               .rows = std::min(kHopperTileRows, rows - row),
                               .position = kv_length[at] - rows + row};
      longest = std::max(longest, tile.position + tile.rows);
      for (int32_t head = 0; head < kv_heads; ++head) {
        tiles.push_back(tile);
        tiles.back().kv_head = head;
      }
    }
  }
  const auto order = [longest](const HopperTile& tile) {
    const int64_t degree = int64_t{tile.position + tile.rows - 1} * kDegrees / longest;
    return std::tuple(-degree, tile.sequence, tile.kv_head, -tile.position);
  };
  std::ranges::sort(tiles, {}, order);
  return tiles;
}

}  // namespace quire::ops::attention
