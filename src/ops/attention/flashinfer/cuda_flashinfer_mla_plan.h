// How the work of FlashInfer's latent attention is dealt to the multiprocessors, planned on the
// device from lengths that the host need not know: so a call can be captured in a graph.
//
// Rows of a sequence times heads, in tiles of `tile` of them, meet keys in blocks of kMlaBlockKeys.
// A tile with many keys is cut into pieces of equal length, whose results are merged in ascending
// order of keys. Pieces lie in the order of sequences, tiles and keys; a cluster of thread blocks,
// which share a tile, gets neighbours.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

inline constexpr int kMlaBlockKeys = 64;
inline constexpr int kMlaBlockRows = 64;  // of a tile: of each thread block of a cluster
inline constexpr int32_t kMaxMlaSequences = 1024;

// The grid of a problem.
struct MlaGrid {
  int32_t cluster_blocks = 1;  // 1 or 2
  int32_t clusters = 1;

  constexpr int32_t tile() const { return cluster_blocks * kMlaBlockRows; }
  constexpr int32_t blocks() const { return cluster_blocks * clusters; }
  // Results of pieces that there may be, of a tile each.
  constexpr int32_t partials() const { return 2 * clusters; }
};
MlaGrid MlaGridOf(const Problem& problem, int multiprocessors);

// Arrays on the device; n pieces. Lengths and starts of keys are in keys, those of rows in rows
// times heads unless they say otherwise.
struct MlaPlan {
  // [n]
  int32_t* first_row = nullptr;   // of the sequence, in rows
  int32_t* rows = nullptr;        // of the sequence, in rows
  int32_t* tile_start = nullptr;  // from the sequence's first row
  int32_t* page_start = nullptr;  // of the sequence's pages in the page table
  int32_t* keys = nullptr;        // of the sequence
  int32_t* key_start = nullptr;
  int32_t* key_end = nullptr;
  int32_t* partial = nullptr;      // where the result goes among partial ones, or -1
  int32_t* piece_start = nullptr;  // [clusters + 1]: the pieces of each
  // [blocks of threads]: rows that each merges, and where their partial results lie
  int32_t* merge_start = nullptr;
  int32_t* merge_end = nullptr;
  int32_t* merge_partial_start = nullptr;
  int32_t* merge_partial_end = nullptr;
  int32_t* merge_stride = nullptr;
};

// Lays the arrays out from `memory` on; returns the bytes that they take.
size_t LayOutMlaPlan(const Problem& problem, const MlaGrid& grid, void* memory, MlaPlan& plan);

// The most that the costs of all pieces can sum up to, which must stay below 2^31.
int64_t MostMlaCost(const Problem& problem);

// Enqueues the making of the plan. REQUIRES: up to kMaxMlaSequences sequences; MostMlaCost().
cudaError_t MakeMlaPlan(const Problem& problem, const MlaGrid& grid, const MlaPlan& plan,
                        cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
