// Attention over split keys for CUDA: decode rows, verification rows and, deterministically, whole
// prompts ("Flash-Decoding", Dao et al., 2023). f16 and bf16 with tensor cores.
//
// The arithmetic is fixed by positions alone. Keys fall into chunks of kChunk, counted from a
// sequence's first key. A part of a chunk, 64 keys, is weighed by its largest score and summed in
// one order; parts are folded into chunks, chunks into spans and spans into rows, each in ascending
// order (cuda_row_sums.cuh). Which thread block takes what is the schedule: it may be anything and
// changes no bit. So a row's result depends on its query, its position and the keys
// and values that it sees, and on nothing else. cuda_hopper_split_kv.h has the same arithmetic for
// long chunks of prompts.
//
// Rows of the same sequence and kv head share each key that is read: query row i and head h of the
// group are row i * group + h, and kTileRows of these are a tile.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "ops/attention/attention_problem.h"
#include "ops/attention/split_kv/split_kv_plan.h"

namespace quire::ops::attention::cuda {

// A schedule as the kernels take it. Arrays are on the device.
struct SplitKvSchedule {
  const SplitKvWork* work = nullptr;  // of a plan; null: the uniform schedule
  const SplitKvWork* merges = nullptr;
  int32_t work_count = 0;
  int32_t merge_count = 0;
  SplitKvGrain grain = SplitKvGrain::kChunks;
  int32_t merge_warps = 1;  // MergeWarps()
  // The uniform schedule, for lengths that the host does not know: `tiles` tiles of each sequence,
  // each cut into `chunks` single chunks, or whole if that is 0.
  int32_t tiles = 0;
  int32_t chunks = 0;
  int32_t tile_rows = kTileRows;  // rows of the fullest tile
  int32_t partials = 0;           // results between the two kernels
  float* partial_data = nullptr;  // PartialFloats()
};

// Thread blocks that each multiprocessor runs at once, for most head sizes.
inline constexpr int32_t kResidentBlocks = 2;
// And blocks that take parts.
constexpr int32_t ResidentParts(int32_t head_dim) {
  return std::min(768 / head_dim, 8);
}

inline constexpr int32_t kMaxMergeWarps = 8;
// Warps that fold the results of a row of a tile with up to `partials` of them: a power of two.
int32_t MergeWarps(int32_t partials);

// Floats that `partials` results of tiles with up to tile_rows rows take.
int64_t PartialFloats(int32_t kv_heads, int32_t head_dim, int64_t partials, int32_t tile_rows);

// The uniform schedule of sequences of up to `rows` rows and `keys` keys, without its memory. It
// splits the tiles only of calls with one row a sequence.
SplitKvSchedule UniformSchedule(const Problem& problem, int64_t rows, int64_t keys);

// Whether the kernels take the types, sizes and strides of `problem`; "" or the reason why not.
std::string_view WhyNotSplitKv(const Problem& problem);

// Enqueues `problem`, whose arrays are on the device, on the stream. REQUIRES: WhyNotSplitKv is "";
// the schedule is of the problem's lengths.
Status RunSplitKv(const Problem& problem, const SplitKvSchedule& schedule, cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
