// What both sides of the kernel of cuda_hopper_prefill.cuh share: its tiles in shared memory, the
// barriers between those who load and those who multiply, and which tile is when.
#pragma once

#include <cutlass/arch/barrier.h>

#include "ops/attention/cuda_tensor_core.cuh"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill.h"

namespace quire::ops::attention::cuda::hopper_prefill {

using Barrier = cutlass::arch::ClusterBarrier;

constexpr int kKeys = 128;
constexpr int kStages = 2;  // of queries and of keys
// Of values. A third gains 1 % with heads of 128 and loses as much with heads of 64.
constexpr int kMaxValueStages = 3;
template <int kDim>
constexpr int kValueStages = kDim == 64 ? 2 : kMaxValueStages;
constexpr int kLoadWarps = 4;
constexpr int kLoadThreads = kLoadWarps * 32;
constexpr int kGroups = 2;  // warpgroups that multiply, 64 rows each
constexpr int kThreads = kLoadThreads + kGroups * 128;
static_assert(kHopperTileRows == kGroups * 64 && kHopperTileRows == kLoadThreads);
constexpr int kAlignment = 1024;  // of the pattern in which rows are swizzled
// A tile of 128 rows in shared memory: parts of 64 elements, each 128 rows of 128 swizzled bytes.
constexpr int kPartBytes = 128 * 128;
template <int kDim>
constexpr int kTileBytes = kDim / 64 * kPartBytes;

// Each pair is of the stages of a ring.
struct Barriers {
  uint64_t query_full[kStages];
  uint64_t query_empty[kStages];
  uint64_t key_full[kStages];
  uint64_t key_empty[kStages];
  uint64_t value_full[kMaxValueStages];
  uint64_t value_empty[kMaxValueStages];
};

// The tile that a block takes at a turn.
struct Turn {
  int sequence;
  int first_row;
  int rows;
  int position;
  int kv_head;
  int head;

  __device__ int keys() const { return position + rows; }
  __device__ int key_tiles() const { return (keys() + kKeys - 1) / kKeys; }
};

// Between what this thread wrote to shared memory or read there and what the copy engine writes or
// the tensor cores read.
__device__ __forceinline__ void FenceForEngines() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Of this block.
__device__ __forceinline__ int TurnsOf(const HopperPrefillSchedule& schedule) {
  const int32_t* const start = schedule.block_start + blockIdx.x;
  return start[1] - start[0];
}

// The stages of each.
struct Shared {
  uint8_t* query;
  uint8_t* key;
  uint8_t* value;
  Barriers* barriers;
  Turn* turns;
};

template <int kDim>
constexpr int kSharedBytes = kAlignment + (2 * kStages + kValueStages<kDim>)*kTileBytes<kDim> +
                             static_cast<int>(sizeof(Barriers) + kStages * sizeof(Turn));

}  // namespace quire::ops::attention::cuda::hopper_prefill
