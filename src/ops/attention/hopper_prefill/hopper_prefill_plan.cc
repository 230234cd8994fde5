#include "ops/attention/hopper_prefill/hopper_prefill_plan.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>
#include <utility>

namespace quire::ops::attention {

namespace {

// Tiles whose work is about the same, of this many degrees, may run in any order.
constexpr int64_t kDegrees = 8;
// The work of a tile: its tiles of 128 keys, and about one more to start and to end it.
constexpr int32_t kKeys = 128;

int32_t WorkOf(const HopperTile& tile) {
  return (tile.position + tile.rows + kKeys - 1) / kKeys + 1;
}

std::vector<HopperTile> TilesOf(const HopperPrefillShape& shape) {
  std::vector<HopperTile> tiles;
  for (int32_t b = shape.begin; b < shape.end; ++b) {
    const auto at = static_cast<size_t>(b);
    const int32_t first = shape.query_start[at];
    const int32_t rows = shape.query_start[at + 1] - first;
    for (int32_t row = 0; row < rows; row += kHopperTileRows) {
      for (int32_t head = 0; head < shape.kv_heads * shape.group; ++head) {
        tiles.push_back({.sequence = b,
                         .first_row = first + row,
                         .rows = std::min(kHopperTileRows, rows - row),
                         .position = shape.kv_length[at] - rows + row,
                         .kv_head = head / shape.group,
                         .head = head});
      }
    }
  }
  return tiles;
}

// Long ones first; among those of a degree, those that share keys together.
void Sort(std::vector<HopperTile>& tiles) {
  int32_t longest = 1;
  for (const HopperTile& tile : tiles) {
    longest = std::max(longest, tile.position + tile.rows);
  }
  std::ranges::sort(tiles, {}, [longest](const HopperTile& tile) {
    const int64_t degree = int64_t{tile.position + tile.rows - 1} * kDegrees / longest;
    return std::tuple(-degree, tile.sequence, tile.kv_head, -tile.position, tile.head);
  });
}

}  // namespace

HopperPrefillPlan PlanHopperPrefill(const HopperPrefillShape& shape) {
  std::vector<HopperTile> tiles = TilesOf(shape);
  Sort(tiles);
  using Load = std::pair<int64_t, int32_t>;  // work, block
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (int32_t block = 0; block < shape.blocks; ++block) {
    loads.emplace(0, block);
  }
  std::vector<std::vector<HopperTile>> of_block(static_cast<size_t>(shape.blocks));
  for (const HopperTile& tile : tiles) {
    const auto [work, block] = loads.top();
    loads.pop();
    loads.emplace(work + WorkOf(tile), block);
    of_block[static_cast<size_t>(block)].push_back(tile);
  }
  HopperPrefillPlan plan;
  plan.block_start.push_back(0);
  for (const std::vector<HopperTile>& list : of_block) {
    plan.tiles.insert(plan.tiles.end(), list.begin(), list.end());
    plan.block_start.push_back(static_cast<int32_t>(plan.tiles.size()));
  }
  return plan;
}

}  // namespace quire::ops::attention
