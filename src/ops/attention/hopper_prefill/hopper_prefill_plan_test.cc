#include "ops/attention/hopper_prefill/hopper_prefill_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>

namespace quire::ops::attention {

namespace {

TEST(HopperPrefillPlanTest, HasEachRowOnceForEachHead) {
  const std::vector<int32_t> query_start = {0, 1, 41, 169, 298, 1298};
  const std::vector<int32_t> kv_length = {900, 40, 128, 1000, 8192};
  const HopperPrefillPlan plan = PlanHopperPrefill({.query_start = query_start,
                                                    .kv_length = kv_length,
                                                    .begin = 1,
                                                    .end = 5,
                                                    .group = 3,
                                                    .kv_heads = 2,
                                                    .blocks = 7});
  std::map<std::pair<int32_t, int32_t>, int> seen;  // of a row and a head
  for (const HopperTile& tile : plan.tiles) {
    const auto b = static_cast<size_t>(tile.sequence);
    EXPECT_GT(tile.rows, 0);
    EXPECT_LE(tile.rows, kHopperTileRows);
    EXPECT_GE(tile.first_row, query_start[b]);
    EXPECT_LE(tile.first_row + tile.rows, query_start[b + 1]);
    EXPECT_EQ(kv_length[b] - tile.position, query_start[b + 1] - tile.first_row);
    EXPECT_EQ(tile.kv_head, tile.head / 3);
    for (int32_t row = 0; row < tile.rows; ++row) {
      ++seen[{tile.first_row + row, tile.head}];
    }
  }
  EXPECT_EQ(seen.size(), size_t{1297 * 6});
  EXPECT_THAT(seen, testing::Each(testing::Pair(testing::_, 1)));
  EXPECT_EQ(seen.begin()->first.first, 1);
  EXPECT_EQ(plan.block_start.size(), 8u);
  EXPECT_EQ(plan.block_start.front(), 0);
  EXPECT_EQ(plan.block_start.back(), static_cast<int32_t>(plan.tiles.size()));
  EXPECT_TRUE(std::ranges::is_sorted(plan.block_start));
}

TEST(HopperPrefillPlanTest, BlocksHaveAboutTheSameWork) {
  const std::vector<int32_t> query_start = {0, 8192};
  const std::vector<int32_t> kv_length = {8192};
  const HopperPrefillPlan plan = PlanHopperPrefill({.query_start = query_start,
                                                    .kv_length = kv_length,
                                                    .begin = 0,
                                                    .end = 1,
                                                    .group = 4,
                                                    .kv_heads = 8,
                                                    .blocks = 132});
  int64_t most = 0;
  int64_t all = 0;
  for (size_t block = 0; block < 132; ++block) {
    int64_t keys = 0;
    for (int32_t i = plan.block_start[block]; i < plan.block_start[block + 1]; ++i) {
      const HopperTile& tile = plan.tiles[static_cast<size_t>(i)];
      keys += tile.position + tile.rows;
      EXPECT_TRUE(i > plan.block_start[block] || tile.position > 7000);
    }
    most = std::max(most, keys);
    all += keys;
  }
  EXPECT_LT(static_cast<double>(most), 1.02 * static_cast<double>(all) / 132);
}

// The first tiles of blocks that start together share their keys.
TEST(HopperPrefillPlanTest, TilesThatShareKeysRunTogether) {
  const std::vector<int32_t> query_start = {0, 512, 1024};
  const std::vector<int32_t> kv_length = {8192, 8192};
  const HopperPrefillPlan plan = PlanHopperPrefill({.query_start = query_start,
                                                    .kv_length = kv_length,
                                                    .begin = 0,
                                                    .end = 2,
                                                    .group = 2,
                                                    .kv_heads = 2,
                                                    .blocks = 8});
  for (size_t block = 0; block < 8; ++block) {
    const HopperTile& tile = plan.tiles[static_cast<size_t>(plan.block_start[block])];
    EXPECT_EQ(tile.sequence, 0);
    EXPECT_EQ(tile.kv_head, 0);
  }
}

}  // namespace

}  // namespace quire::ops::attention
