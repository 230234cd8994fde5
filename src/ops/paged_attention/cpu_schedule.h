// How the CPU cuts one paged_attention call into units of work. No arithmetic lives here: how a
// step is cut never shows in its results.
#pragma once

#include <cstdint>

#include "ops/paged_attention/paged_attention.h"

namespace quire::ops::paged_attention::cpu {

// Keys that share one softmax step, aligned to absolute positions; divides kKeyRange.
inline constexpr int kKeyTile = 64;
// Lanes of the abstract vector that all instruction sets compute with.
inline constexpr int kLanes = 16;
// Query vectors (rows x grouped heads) that one unit works on, unless one row alone has more.
inline constexpr int kMaxUnitQueries = 96;
// Query vectors that the innermost loops work on together.
inline constexpr int kMaxRun = 4;

// What all units of a call share. Strides in elements.
struct Problem {
  const float* query = nullptr;
  int64_t query_row_stride = 0;
  int64_t query_head_stride = 0;
  float* out = nullptr;  // [T, Hq, D]
  const void* k = nullptr;
  const void* v = nullptr;
  int head_dim = 0;
  int q_heads = 0;
  int kv_heads = 0;
  int group = 0;       // q heads per kv head
  int page_shift = 0;  // log2 of the page size
  int window_left = -1;
  float scale = 1.0f;
  float logit_soft_cap = 0.0f;
};

// Query rows of one sequence and the q heads of one kv head against consecutive key ranges.
struct Unit {
  const int32_t* pages = nullptr;  // the sequence's page table
  int64_t first_row = 0;           // in the step
  int64_t first_position = 0;      // of first_row
  int32_t rows = 0;
  int32_t kv_head = 0;
  int64_t range_begin = 0;  // key ranges [range_begin, range_end), in multiples of kKeyRange
  int64_t range_end = 0;
  // Set where other units have the other ranges of the same queries: partial results go there, and
  // the unit that finishes last merges them.
  float* partials = nullptr;      // [rows * group, merge_ranges, PartialFloats(D)]
  int32_t* units_left = nullptr;  // units of these queries that have not finished
  int64_t merge_range_begin = 0;  // the first range of `partials`
  int32_t merge_ranges = 0;
};

// The keys that a row at `position` sees: [begin, end).
struct KeySpan {
  int64_t begin;
  int64_t end;
};
inline KeySpan VisibleKeys(int64_t position, int window_left) {
  const int64_t begin = window_left < 0 || position < window_left ? 0 : position - window_left;
  return {begin, position + 1};
}

// Keys [begin, end) of a tile.
struct TileKeys {
  int begin;
  int end;
  bool operator==(const TileKeys&) const = default;
};

// acc [D], then the softmax denominator, then the largest score.
inline int64_t PartialFloats(int head_dim) {
  return head_dim + kLanes;
}

// Scratch memory of one worker.
struct Scratch {
  float* query = nullptr;      // [queries, D]
  float* acc = nullptr;        // [queries, D]: of the range in work
  float* sum = nullptr;        // [queries, kLanes]
  float* max = nullptr;        // [queries]
  float* total_acc = nullptr;  // [queries, D]: of the ranges before it
  float* total_sum = nullptr;  // [queries]
  float* total_max = nullptr;  // [queries]
  float* scores = nullptr;     // [kMaxRun, kKeyTile]
  float* keys = nullptr;       // [kKeyTile, D] in fp32
  float* values = nullptr;     // [kKeyTile, D]
  int64_t* offsets = nullptr;  // [2, kKeyTile] where a tile's keys and the next one's lie
  int64_t* rows = nullptr;     // [kKeyTile] of the rows of `keys`
};

// The unit function of one instruction set, by the cache's type.
struct Kernels {
  using Function = void (*)(const Problem& problem, const Unit& unit, const Scratch& scratch);
  Function f32 = nullptr;
  Function f16 = nullptr;
  Function bf16 = nullptr;
};

Kernels BaselineKernels();
Kernels Avx2Kernels();    // REQUIRES: x86 and CpuIsa::kAvx2
Kernels Avx512Kernels();  // REQUIRES: x86 and CpuIsa::kAvx512

// Runs all units of `args` on the context's threads. REQUIRES: valid arguments.
Status RunUnits(const OpContext& context, const Args& args, const Kernels& kernels);

}  // namespace quire::ops::paged_attention::cpu
