#include "ops/attention/split_kv/split_kv_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <tuple>

namespace quire::ops::attention {

namespace {

int32_t CeilDiv(int64_t a, int64_t b) {
  return static_cast<int32_t>((a + b - 1) / b);
}

int32_t RowsOf(const SplitKvShape& shape, int32_t sequence) {
  const auto b = static_cast<size_t>(sequence);
  return shape.query_start[b + 1] - shape.query_start[b];
}

// Calls visit(tile) for each tile with all its chunks.
template <typename Visit>
void ForEachTile(const SplitKvShape& shape, const Visit& visit) {
  for (int32_t b = shape.begin; b < shape.end; ++b) {
    const int32_t rows = RowsOf(shape, b);
    const int64_t first_position = int64_t{shape.kv_length[static_cast<size_t>(b)]} - rows;
    const int64_t flat_rows = int64_t{rows} * shape.group;
    for (int32_t tile = 0; int64_t{tile} * kTileRows < flat_rows; ++tile) {
      const int64_t last = std::min<int64_t>((tile + 1) * int64_t{kTileRows}, flat_rows) - 1;
      const int64_t keys = std::max<int64_t>(first_position + last / shape.group + 1, 0);
      visit(SplitKvWork{.sequence = b,
                        .tile = tile,
                        .chunk_end = CeilDiv(keys, kChunk),
                        .first_row = shape.query_start[static_cast<size_t>(b)],
                        .rows = rows,
                        .keys = shape.kv_length[static_cast<size_t>(b)]});
    }
  }
}

// What a way to cut tiles costs, in units of the time that a block takes for a chunk.
struct Cut {
  int64_t pieces = 0;    // of one kv head
  int64_t chunks = 0;    // of all tiles
  int64_t longest = 0;   // chunks of the longest piece
  int64_t partials = 0;  // chunks of tiles that are cut

  // Blocks that start together end together, as long as there are few rounds of them; many even
  // out. Measured: a block loses half a chunk when it starts, and the merge another.
  double Cost(const SplitKvShape& shape) const {
    constexpr double kStart = 0.6;
    constexpr double kMerge = 0.6;
    const double blocks = static_cast<double>(pieces) * shape.kv_heads / shape.resident_blocks;
    const double rounds = std::ceil(blocks);
    const double each = static_cast<double>(longest) + kStart;
    const double mean =
        (static_cast<double>(chunks) * shape.kv_heads / shape.resident_blocks) + blocks * kStart;
    return (rounds <= 4 ? std::min(rounds * each, mean + each) : mean + each / 2) +
           (partials > 0 ? kMerge : 0);
  }
};

// How tiles are cut whose pieces have up to `size` chunks.
SplitKvGrain GrainOf(int32_t size) {
  return size % kSpan == 0 ? SplitKvGrain::kSpans : SplitKvGrain::kChunks;
}

// Pieces of a tile of `chunks` chunks, of up to `size` each and as even as their results allow.
class Pieces {
 public:
  Pieces(int32_t chunks, int32_t size, SplitKvGrain grain)
      : chunks_(chunks),
        unit_(grain == SplitKvGrain::kSpans ? kSpan : 1),
        units_(CeilDiv(chunks, unit_)),
        count_(CeilDiv(units_, size / unit_)) {}

  int32_t count() const { return count_; }
  int32_t longest() const {
    return std::min(CeilDiv(units_, std::max(count_, 1)) * unit_, chunks_);
  }
  // The first chunk of piece i, or the end of the last.
  int32_t BeginOf(int32_t i) const {
    return std::min(static_cast<int32_t>(int64_t{units_} * i / count_) * unit_, chunks_);
  }

 private:
  int32_t chunks_;
  int32_t unit_;
  int32_t units_;
  int32_t count_;
};

Cut CutOf(const SplitKvShape& shape, int32_t size) {
  Cut cut;
  ForEachTile(shape, [&](const SplitKvWork& tile) {
    const Pieces pieces(tile.chunk_end, size, GrainOf(size));
    cut.pieces += std::max(pieces.count(), 1);
    cut.chunks += tile.chunk_end;
    cut.longest = std::max<int64_t>(cut.longest, pieces.longest());
    cut.partials += pieces.count() > 1 ? ResultsOf(GrainOf(size), tile.chunk_end) : 0;
  });
  return cut;
}

// Chunks of a piece of work; tiles of no more stay whole.
int32_t ChunksOfPiece(const SplitKvShape& shape) {
  if (shape.piece > 0) {
    return shape.piece;
  }
  int32_t best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int32_t size = 1;; size += size < kSpan ? 1 : std::max(size / kSpan / 8, 1) * kSpan) {
    const Cut cut = CutOf(shape, size);
    if (cut.partials <= kMaxPartials && cut.Cost(shape) < least) {
      least = cut.Cost(shape);
      best = size;
    }
    if (cut.partials == 0) {
      return best;
    }
  }
}

// Whether each part of each chunk is a piece. Measured: it pays for what takes up to two rounds.
bool IsByParts(const SplitKvShape& shape) {
  if (shape.piece != 0) {
    return shape.piece == kPartPieces;
  }
  const Cut cut = CutOf(shape, 1);
  const int64_t parts = cut.chunks * kParts;
  return cut.partials > 0 && parts <= kMaxPartials &&
         parts * shape.kv_heads <= 2 * int64_t{shape.resident_parts};
}

// Adds the pieces of `tile`, which is cut.
void AddPieces(const SplitKvWork& tile, int32_t size, SplitKvPlan& plan) {
  const Pieces pieces(tile.chunk_end, size, plan.grain);
  for (int32_t piece = 0; piece < pieces.count(); ++piece) {
    SplitKvWork work = tile;
    work.chunk_begin = pieces.BeginOf(piece);
    work.chunk_end = pieces.BeginOf(piece + 1);
    work.partial = tile.partial + ResultsOf(plan.grain, work.chunk_begin);
    plan.work.push_back(work);
  }
}

}  // namespace

SplitKvPlan PlanSplitKv(const SplitKvShape& shape) {
  SplitKvPlan plan;
  const bool by_parts = IsByParts(shape);
  const int32_t size = by_parts ? 1 : ChunksOfPiece(shape);
  plan.grain = by_parts ? SplitKvGrain::kParts : GrainOf(size);
  ForEachTile(shape, [&](SplitKvWork tile) {
    plan.tile_rows =
        std::max(plan.tile_rows, std::min(kTileRows, RowsOf(shape, tile.sequence) * shape.group));
    if (!by_parts && tile.chunk_end <= size) {
      plan.work.push_back(tile);
      return;
    }
    const int32_t results = ResultsOf(plan.grain, tile.chunk_end);
    tile.partial = plan.partials;
    plan.merges.push_back(tile);
    plan.partials += results;
    plan.tile_partials = std::max(plan.tile_partials, results);
    AddPieces(tile, size, plan);
  });
  // Long pieces first: no multiprocessor starts one when the others end.
  std::ranges::sort(plan.work, std::less(), [](const SplitKvWork& work) {
    return std::tuple(work.chunk_begin - work.chunk_end, work.sequence, work.tile,
                      work.chunk_begin);
  });
  return plan;
}

}  // namespace quire::ops::attention
