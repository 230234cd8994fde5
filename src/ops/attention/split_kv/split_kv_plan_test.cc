#include "ops/attention/split_kv/split_kv_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "base/test_seed.h"

namespace quire::ops::attention {

namespace {

struct Step {
  std::vector<int32_t> query_start = {0};
  std::vector<int32_t> kv_length = {};
  int32_t group = 4;
  int32_t kv_heads = 8;
  int32_t piece = 0;
  int32_t resident_parts = 924;

  void Add(int32_t rows, int32_t length) {
    query_start.push_back(query_start.back() + rows);
    kv_length.push_back(length);
  }
  SplitKvPlan Plan() const {
    return PlanSplitKv({.query_start = query_start,
                        .kv_length = kv_length,
                        .begin = 0,
                        .end = static_cast<int32_t>(kv_length.size()),
                        .group = group,
                        .kv_heads = kv_heads,
                        .resident_blocks = 264,
                        .resident_parts = resident_parts,
                        .piece = piece});
  }
};

// Chunks of a tile as its last row sees them.
int32_t ChunksOf(const Step& step, int32_t sequence, int32_t tile) {
  const auto b = static_cast<size_t>(sequence);
  const int32_t rows = step.query_start[b + 1] - step.query_start[b];
  const int32_t last = std::min((tile + 1) * kTileRows, rows * step.group) - 1;
  const int32_t keys = std::max(step.kv_length[b] - rows + last / step.group + 1, 0);
  return (keys + kChunk - 1) / kChunk;
}

// That the plan does every chunk of every tile once and gives each partial result its own place.
void ExpectComplete(const Step& step) {
  const SplitKvPlan plan = step.Plan();
  std::map<std::pair<int32_t, int32_t>, std::vector<int>> done;
  std::vector<int> places(static_cast<size_t>(plan.partials));
  for (const SplitKvWork& work : plan.work) {
    const auto sequence = static_cast<size_t>(work.sequence);
    EXPECT_EQ(work.first_row, step.query_start[sequence]);
    EXPECT_EQ(work.rows, step.query_start[sequence + 1] - step.query_start[sequence]);
    EXPECT_EQ(work.keys, step.kv_length[sequence]);
    EXPECT_TRUE(plan.grain != SplitKvGrain::kParts || work.chunk_end == work.chunk_begin + 1);
    EXPECT_TRUE(plan.grain != SplitKvGrain::kSpans || work.chunk_begin % kSpan == 0);
    std::vector<int>& chunks = done[{work.sequence, work.tile}];
    chunks.resize(static_cast<size_t>(ChunksOf(step, work.sequence, work.tile)));
    ASSERT_LE(work.chunk_end, static_cast<int32_t>(chunks.size()));
    for (int32_t chunk = work.chunk_begin; chunk < work.chunk_end; ++chunk) {
      ++chunks[static_cast<size_t>(chunk)];
    }
    const int32_t results =
        ResultsOf(plan.grain, work.chunk_end) - ResultsOf(plan.grain, work.chunk_begin);
    for (int32_t i = 0; work.partial >= 0 && i < results; ++i) {
      ++places.at(static_cast<size_t>(work.partial + i));
    }
    if (work.partial < 0) {
      EXPECT_EQ(work.chunk_begin, 0);
      EXPECT_EQ(work.chunk_end, static_cast<int32_t>(chunks.size()));
    }
  }
  for (const SplitKvWork& work : plan.merges) {  // a tile that sees no key may have no piece
    done[{work.sequence, work.tile}].resize(
        static_cast<size_t>(ChunksOf(step, work.sequence, work.tile)));
  }
  size_t tiles = 0;
  for (size_t b = 0; b < step.kv_length.size(); ++b) {
    const int32_t rows = step.query_start[b + 1] - step.query_start[b];
    tiles += static_cast<size_t>((rows * step.group + kTileRows - 1) / kTileRows);
  }
  EXPECT_EQ(done.size(), tiles);
  for (const auto& [tile, chunks] : done) {
    EXPECT_THAT(chunks, testing::Each(1)) << "tile " << tile.second << " of " << tile.first;
  }
  EXPECT_THAT(places, testing::Each(1));
  EXPECT_LE(plan.partials, kMaxPartials);
}

TEST(SplitKvPlan, OneLongSequenceIsCutForAllMultiprocessors) {
  Step step;
  step.Add(1, 65536);
  const SplitKvPlan plan = step.Plan();
  EXPECT_EQ(plan.work.size(), 32u);  // x 8 kv heads: one round of 264 blocks
  ASSERT_EQ(plan.merges.size(), 1u);
  EXPECT_EQ(plan.grain, SplitKvGrain::kSpans);
  EXPECT_EQ(plan.merges[0].chunk_end, 256);
  EXPECT_EQ(plan.partials, 64);
  EXPECT_EQ(plan.tile_partials, 64);
  EXPECT_EQ(plan.tile_rows, 4);
  ExpectComplete(step);
}

TEST(SplitKvPlan, AShortSequenceIsCutIntoParts) {
  Step step;
  step.Add(1, 1088);
  const SplitKvPlan plan = step.Plan();
  EXPECT_EQ(plan.grain, SplitKvGrain::kParts);
  EXPECT_EQ(plan.work.size(), 5u);
  ASSERT_EQ(plan.merges.size(), 1u);
  EXPECT_EQ(plan.partials, 20);
  EXPECT_EQ(plan.tile_partials, 20);
  ExpectComplete(step);
  step.resident_parts = 79;
  EXPECT_EQ(step.Plan().grain, SplitKvGrain::kChunks);
  ExpectComplete(step);
}

// Nobody gains where one block has all keys of a tile.
TEST(SplitKvPlan, AChunkStaysWhole) {
  Step step;
  step.Add(1, 256);
  step.Add(1, 1);
  const SplitKvPlan plan = step.Plan();
  EXPECT_EQ(plan.work.size(), 2u);
  EXPECT_TRUE(plan.merges.empty());
}

TEST(SplitKvPlan, ManySequencesStayWhole) {
  Step step;
  for (int i = 0; i < 2000; ++i) {
    step.Add(1, 700);
  }
  const SplitKvPlan plan = step.Plan();
  EXPECT_EQ(plan.work.size(), 2000u);
  EXPECT_TRUE(plan.merges.empty());
  EXPECT_EQ(plan.partials, 0);
  ExpectComplete(step);
}

TEST(SplitKvPlan, LongPiecesComeFirst) {
  Step step;
  step.piece = 100;
  for (const int32_t length : {100, 9000, 2000, 9000}) {
    step.Add(1, length);
  }
  const SplitKvPlan plan = step.Plan();
  std::vector<int32_t> order;
  for (const SplitKvWork& work : plan.work) {
    order.push_back(work.sequence);
  }
  EXPECT_THAT(order, testing::ElementsAre(1, 3, 2, 0));
}

TEST(SplitKvPlan, NoKeysAndNoRows) {
  Step step;
  step.Add(1, 0);
  step.Add(0, 10);
  step.Add(3, 2);
  const SplitKvPlan plan = step.Plan();
  EXPECT_EQ(plan.work.size(), 2u);
  ExpectComplete(step);
  EXPECT_TRUE(Step().Plan().work.empty());
}

TEST(SplitKvPlan, PiecesOfSpansBeginAtSpans) {
  Step step;
  step.Add(1, 11 * kChunk);
  step.Add(1, 3 * kChunk);
  for (const int32_t piece : {1, 2, 3, 4, 5, 8, 1000, kPartPieces}) {
    step.piece = piece;
    ExpectComplete(step);
  }
  step.piece = 4;
  const SplitKvPlan plan = step.Plan();
  ASSERT_EQ(plan.work.size(), 4u);
  EXPECT_EQ(plan.work[3].chunk_end - plan.work[3].chunk_begin, 3);
  EXPECT_EQ(plan.partials, 3);
}

TEST(SplitKvPlan, SomeOfTheSequences) {
  const std::vector<int32_t> starts = {0, 1, 2, 5};
  const std::vector<int32_t> lengths = {4000, 3000, 20};
  const SplitKvPlan plan = PlanSplitKv({.query_start = starts,
                                        .kv_length = lengths,
                                        .begin = 1,
                                        .end = 3,
                                        .group = 2,
                                        .resident_blocks = 4,
                                        .piece = 100});
  ASSERT_EQ(plan.work.size(), 2u);
  EXPECT_EQ(plan.work[0].sequence, 1);
  EXPECT_EQ(plan.work[0].chunk_end, 12);
  EXPECT_EQ(plan.work[1].sequence, 2);
  EXPECT_EQ(plan.tile_rows, 6);
}

TEST(SplitKvPlan, PartialResultsHaveBounds) {
  Step step;
  for (int i = 0; i < 300; ++i) {
    step.Add(1, 100000);
  }
  ExpectComplete(step);
}

TEST(SplitKvPlan, RandomSteps) {
  std::mt19937_64 rng(TestSeed());
  for (int i = 0; i < 100; ++i) {
    Step step;
    step.group = 1 + static_cast<int32_t>(rng() % 20);
    step.kv_heads = 1 + static_cast<int32_t>(rng() % 8);
    step.resident_parts = static_cast<int32_t>(rng() % 3) * 5000;
    for (uint64_t b = rng() % 20; b > 0; --b) {
      step.Add(static_cast<int32_t>(rng() % 3 == 0 ? rng() % 300 : 1),
               static_cast<int32_t>(rng() % 20000));
    }
    ExpectComplete(step);
  }
}

}  // namespace

}  // namespace quire::ops::attention
