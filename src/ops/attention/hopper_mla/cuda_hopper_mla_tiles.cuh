// What the parts of the kernel of cuda_hopper_mla.cu share: its arguments, its tiles in shared
// memory and the barriers between those who load and those who multiply.
#pragma once

#include <cutlass/arch/barrier.h>
#include <cute/arch/cluster_sm90.hpp>

#include "ops/attention/attention_problem.h"
#include "ops/attention/cuda_online_softmax.cuh"
#include "ops/attention/cuda_tensor_core.cuh"
#include "ops/attention/hopper_mla/cuda_hopper_mla.h"
#include "ops/attention/hopper_mla/cuda_hopper_mla_maps.h"
#include "ops/attention/hopper_mla/hopper_mla_plan.h"

namespace quire::ops::attention::cuda::hopper_mla {

using Barrier = cutlass::arch::ClusterBarrier;
using Element = __nv_bfloat16;

constexpr int kLatentDim = 512;
constexpr int kDim = kLatentDim + 64;
constexpr int kLoadThreads = 128;
constexpr int kGroups = 2;  // warpgroups that multiply
constexpr int kThreads = kLoadThreads + kGroups * 128;
constexpr int kWarps = kThreads / 32;
constexpr int kAlignment = 1024;  // of the pattern in which rows are swizzled
// A tile of 64 rows in shared memory: parts of 64 elements, each 64 rows of 128 swizzled bytes. The
// last one is rotated. Outputs are the latent parts' business, half of them each warpgroup's.
constexpr int kParts = kDim / 64;
constexpr int kRotated = kParts - 1;
constexpr int kHalfParts = kRotated / kGroups;
constexpr int kUnits = kRotated / 2 + 1;  // that come one after another
constexpr int kPartBytes = 64 * 128;
constexpr int kTileBytes = kParts * kPartBytes;
static_assert(kMlaTileRows == 64 && kMlaTileKeys == 64);

// A tile of rows whose results are merged.
struct Merge {
  int32_t first;  // of the rows, as in Turn
  int32_t rows;   // 0: there is none
  int32_t pieces;
  int32_t partial;  // the first piece's result
  int32_t step;     // to the next one's
};

// Results of pieces that are parts of a tile, each with kMlaTileRows rows. On the device.
struct Partials {
  Element* out = nullptr;    // [partials, rows, kLatentDim], each over the sum of its own weights
  float* lse = nullptr;      // [partials, rows] in units of log 2
  Merge* merge = nullptr;    // [partials / 2], as a tile that is merged has two or more
  int32_t* count = nullptr;  // of this call's merges
};

struct Args {
  Problem problem;
  Partials partials;
  LatentMap map;
  LatentMap query_map;
  MlaDivisor clusters;
};

// A piece of work: rows times heads of a sequence with some of its keys.
struct Turn {
  int32_t first;  // row * heads + head of the step
  int32_t rows;
  int32_t sees;  // keys that the step's row 0 would see; each later row sees one more
  int32_t key_begin;
  int32_t key_end;
  int32_t sequence;
  int32_t partial;  // where the result goes, or -1: it is the output

  __device__ int key_tiles() const {
    return (key_end - key_begin + kMlaTileKeys - 1) / kMlaTileKeys;
  }
};

// The first of each pair of key tiles goes to buffer 0, the other to buffer 1.
struct Barriers {
  uint64_t query_full;
  uint64_t query_empty;
  uint64_t full[kGroups][kUnits];         // [buffer]: of two parts each, then the rotated one
  uint64_t rotated_empty[kGroups];        // [buffer]
  uint64_t half_empty[kGroups][kGroups];  // [buffer][warpgroup whose half of the latent it is]
  uint64_t weights_sent[kGroups][4];      // [warpgroup][warp]
  uint64_t sums_sent[4];                  // [warp]: by those of both warpgroups
};

// Where a warp that gathers learns in turn that what it asked for is there.
constexpr int kLandings =
    6;  // more than a warp may ask for: queries, and two things for each buffer
struct Landing {
  uint64_t landed[kLandings];
  const uint64_t* full[kLandings];  // who is to be told
};

// What a warp of a warpgroup tells that of the other which has the same rows.
struct Exchange {
  uint4 weights[4][128];  // by thread
  float base[kMlaTileRows];
  float sums[2][kGroups][kMlaTileRows];
};

// The other blocks of the cluster, which are to be there before anything is copied to them.
template <int kBlocks>
__device__ __forceinline__ void ArriveAtCluster() {
  if constexpr (kBlocks > 1) {
    cute::cluster_arrive();
  }
}
template <int kBlocks>
__device__ __forceinline__ void AwaitCluster() {
  if constexpr (kBlocks > 1) {
    cute::cluster_wait();
  }
}

struct Shared {
  uint8_t* query;
  uint8_t* keys[kGroups];
  Exchange* exchange;
  Barriers* barriers;
  Landing* landings;  // of each warp that gathers
  Turn* turn;
};

constexpr int kSharedBytes = kAlignment + 3 * kTileBytes +
                             static_cast<int>(sizeof(Exchange) + sizeof(Barriers) +
                                              kLoadThreads / 32 * sizeof(Landing) + sizeof(Turn));
static_assert(kSharedBytes <= 227 * 1024);

}  // namespace quire::ops::attention::cuda::hopper_mla
