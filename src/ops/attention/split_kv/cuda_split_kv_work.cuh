// What a block of the kernels over split keys works at: which rows of which sequence, which keys
// these see, and where partial results go.
#pragma once

#include "ops/attention/split_kv/cuda_split_kv_launch.h"

namespace quire::ops::attention::cuda {

struct Span {
  int32_t begin = 0;
  int32_t end = 0;
};

// What a piece of work is about.
struct TileSpan {
  int32_t rows;      // of the sequence times heads of the group, from the first of the tile
  int32_t position;  // of the sequence's first row
  int32_t keys;
  Span seen;  // by any row of the tile
};

// Fills in what a plan knows of the sequence.
__device__ inline SplitKvWork UniformWork(const Problem& problem, const SplitKvSchedule& schedule,
                                          int32_t tile, int32_t piece) {
  SplitKvWork work;
  work.sequence = tile / schedule.tiles;
  work.tile = tile % schedule.tiles;
  work.chunk_begin = piece;
  work.chunk_end = schedule.chunks > 0 ? piece + 1 : 0x7fffffff / kChunk;
  work.partial = schedule.chunks > 0 ? tile * schedule.chunks + piece : -1;
  work.first_row = static_cast<int32_t>(problem.FirstRow(work.sequence));
  work.rows = static_cast<int32_t>(problem.Rows(work.sequence));
  work.keys = static_cast<int32_t>(problem.Keys(work.sequence));
  return work;
}

// Item `index` of `list`, or of the uniform schedule.
__device__ inline SplitKvWork WorkAt(const SplitKvArgs& args, const SplitKvWork* list,
                                     int32_t index) {
  if (list != nullptr) {
    return list[index];
  }
  const int32_t pieces = max(args.schedule.chunks, 1);
  return UniformWork(args.problem, args.schedule, index / pieces, index % pieces);
}

__device__ inline Span RowSpan(const Problem& problem, const TileSpan& tile,
                               const SplitKvWork& work, int r) {
  const int32_t row = (work.tile * kTileRows + r) / problem.group();
  const KeySpan seen =
      r < tile.rows ? problem.VisibleKeys(tile.position + row, tile.keys) : KeySpan{};
  return {static_cast<int32_t>(seen.begin), static_cast<int32_t>(seen.end)};
}

__device__ inline TileSpan SpanOf(const Problem& problem, const SplitKvWork& work) {
  TileSpan tile;
  tile.rows = work.rows * problem.group() - work.tile * kTileRows;
  tile.position = work.keys - work.rows;
  tile.keys = work.keys;
  if (tile.rows > 0) {
    tile.seen = {RowSpan(problem, tile, work, 0).begin,
                 RowSpan(problem, tile, work, min(tile.rows, kTileRows) - 1).end};
  }
  return tile;
}

// Where row r of a tile has its query, output and partial results.
struct RowPlace {
  int64_t row;
  int head;
};

__device__ inline RowPlace PlaceOf(const Problem& problem, const SplitKvWork& work, int kv_head,
                                   int r) {
  const int64_t flat = int64_t{work.tile} * kTileRows + r;
  return {work.first_row + flat / problem.group(),
          kv_head * problem.group() + static_cast<int>(flat % problem.group())};
}

__device__ inline int64_t PartialRow(const SplitKvArgs& args, int64_t partial, int kv_head, int r) {
  return (partial * args.problem.kv_heads + kv_head) * args.schedule.tile_rows + r;
}

// The scores' maxima and sums lie behind the weighted sums of all partial results.
__device__ inline float2* PartialScalars(const SplitKvArgs& args) {
  return reinterpret_cast<float2*>(args.schedule.partial_data +
                                   PartialRow(args, args.schedule.partials, 0, 0) *
                                       args.problem.key_dim);
}

// What a block does: the chunks [chunk_begin, chunk_end) of a tile that some row of it sees.
struct BlockWork {
  SplitKvWork work;
  TileSpan tile;
  int kv_head;
  int32_t chunk_begin;
  int32_t chunk_end;

  __device__ int valid_rows() const { return min(tile.rows, kTileRows); }
};

__device__ inline BlockWork BlockWorkOf(const SplitKvArgs& args, const SplitKvWork& work,
                                        int kv_head) {
  BlockWork block = {work, SpanOf(args.problem, work), kv_head, 0, 0};
  block.chunk_begin = max(work.chunk_begin, block.tile.seen.begin / kChunk);
  block.chunk_end = min(work.chunk_end, (block.tile.seen.end + kChunk - 1) / kChunk);
  return block;
}

}  // namespace quire::ops::attention::cuda
