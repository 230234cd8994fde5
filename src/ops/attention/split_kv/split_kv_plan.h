// How attention over split keys is cut into pieces of work; see the kernels of that name. Made on
// the host, once a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quire::ops::attention {

inline constexpr int kChunk = 256;    // keys
inline constexpr int kParts = 4;      // of a chunk, each of keys one after another
inline constexpr int kSpan = 4;       // chunks
inline constexpr int kTileRows = 16;  // the rows of one tensor core instruction

// What has a partial result of its own. Results are folded in a fixed tree: parts into chunks,
// chunks into spans, spans into rows.
enum class SplitKvGrain : uint8_t { kSpans, kChunks, kParts };

// The results of the first `chunks` chunks of a tile.
constexpr int32_t ResultsOf(SplitKvGrain grain, int32_t chunks) {
  return grain == SplitKvGrain::kSpans    ? (chunks + kSpan - 1) / kSpan
         : grain == SplitKvGrain::kChunks ? chunks
                                          : chunks * kParts;
}

// The chunks [chunk_begin, chunk_end) of a tile, for each kv head. Without rows: no work.
struct alignas(16) SplitKvWork {
  int32_t sequence = 0;
  int32_t tile = 0;  // of the sequence
  int32_t chunk_begin = 0;
  int32_t chunk_end = 0;
  // Where the first partial result goes, later ones after it; -1: these are all chunks of the tile,
  // and the output is written. Pieces of a tile that is cut begin where a result does.
  int32_t partial = -1;
  // Of the sequence:
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t keys = 0;
};

// A schedule for the lengths of one step; of no use for other lengths.
struct SplitKvPlan {
  std::vector<SplitKvWork> work;
  std::vector<SplitKvWork> merges;  // tiles that are cut into several pieces, all their chunks
  SplitKvGrain grain = SplitKvGrain::kChunks;  // kParts: each part is a piece; `work` has chunks
  int32_t partials = 0;                        // results between the two
  int32_t tile_partials = 0;                   // of the longest tile
  int32_t tile_rows = 0;                       // rows of the fullest tile
};

// What a plan is made for: the sequences [begin, end) of a step.
struct SplitKvShape {
  std::span<const int32_t> query_start;  // [B + 1]
  std::span<const int32_t> kv_length;    // [B]
  int32_t begin = 0;
  int32_t end = 0;
  int32_t group = 1;
  int32_t kv_heads = 1;
  int32_t resident_blocks = 1;  // that the device runs at once, of those that take chunks
  int32_t resident_parts = 0;   // and of those that take parts
  int32_t piece = 0;            // chunks of a piece of work; 0: what ends soonest; or kPartPieces
};

inline constexpr int32_t kPartPieces = -1;  // SplitKvShape::piece: parts of chunks

// At most so many partial results are kept; beyond it longer tiles stay whole.
inline constexpr int64_t kMaxPartials = 2048;

// Cuts long tiles so that all of the device has work. O(pieces of work).
SplitKvPlan PlanSplitKv(const SplitKvShape& shape);

}  // namespace quire::ops::attention
