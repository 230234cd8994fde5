#include "ops/attention/hopper_prefill_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <tuple>

namespace quire::ops::attention {

namespace {

TEST(HopperPrefillPlanTest, HasEachRowOnceForEachKvHead) {
  const std::vector<int32_t> query_start = {0, 1, 41, 169, 298, 1298};
  const std::vector<int32_t> kv_length = {900, 40, 128, 1000, 8192};
  constexpr int32_t kKvHeads = 3;
  std::map<std::pair<int32_t, int32_t>, int> seen;  // of a row and a head
  for (const HopperTile& tile : PlanHopperPrefill(query_start, kv_length, 1, 5, kKvHeads)) {
    const auto b = static_cast<size_t>(tile.sequence);
    EXPECT_GT(tile.rows, 0);
    EXPECT_LE(tile.rows, kHopperTileRows);
    EXPECT_GE(tile.first_row, query_start[b]);
    EXPECT_LE(tile.first_row + tile.rows, query_start[b + 1]);
    EXPECT_EQ(kv_length[b] - tile.position, query_start[b + 1] - tile.first_row);
    for (int32_t row = 0; row < tile.rows; ++row) {
      ++seen[{tile.first_row + row, tile.kv_head}];
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(1297 * kKvHeads));
  EXPECT_THAT(seen, testing::Each(testing::Pair(testing::_, 1)));
  EXPECT_EQ(seen.begin()->first.first, 1);
}

TEST(HopperPrefillPlanTest, LongTilesComeFirst) {
  const auto tiles = PlanHopperPrefill(std::vector<int32_t>{0, 256, 1280},
                                       std::vector<int32_t>{256, 1024}, 0, 2, 1);
  ASSERT_EQ(tiles.size(), 10u);
  EXPECT_EQ(tiles.front().sequence, 1);
  EXPECT_EQ(tiles.front().position, 896);
  EXPECT_EQ(tiles.back().position, 0);
}

// Tiles of one kv head and about the same length follow each other, so that they share its keys.
TEST(HopperPrefillPlanTest, TilesThatShareKeysAreNeighbours) {
  const auto tiles = PlanHopperPrefill(std::vector<int32_t>{0, 512, 1024},
                                       std::vector<int32_t>{8192, 8192}, 0, 2, 2);
  std::vector<std::pair<int32_t, int32_t>> order;
  for (const HopperTile& tile : tiles) {
    if (order.empty() || order.back() != std::pair(tile.sequence, tile.kv_head)) {
      order.emplace_back(tile.sequence, tile.kv_head);
    }
  }
  EXPECT_THAT(order, testing::ElementsAre(testing::Pair(0, 0), testing::Pair(0, 1),
                                          testing::Pair(1, 0), testing::Pair(1, 1)));
}

}  // namespace

}  // namespace quire::ops::attention
