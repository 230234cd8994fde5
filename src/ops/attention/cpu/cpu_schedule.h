// How the CPU cuts one attention problem into units of work. No arithmetic lives here: how a call
// is cut never shows in its results.
//
// Work is split over (rows, kv head, key range); key ranges are fixed by absolute position
// (multiples of kKeyRange), partial results are merged in ascending order by their log-sum-exp
// (Flash-Decoding; Dao et al., 2023). Within a range keys are visited in tiles fixed by absolute
// position with an online softmax (Milakov & Gimelshein, 2018). So a row's bits depend on its
// query, its position and the keys that it sees alone.
#pragma once

#include <cstdint>

#include "ops/attention/attention_problem.h"
#include "ops/implementation.h"

namespace quire::ops::attention::cpu {

// Keys per unit of work, aligned to absolute positions.
inline constexpr int kKeyRange = 256;
// Keys that share one softmax step, aligned to absolute positions; divides kKeyRange.
inline constexpr int kKeyTile = 64;
// Lanes of the abstract vector that all instruction sets compute with.
inline constexpr int kLanes = 16;
// Query vectors (rows x grouped heads) that one unit works on, unless one row alone has more.
inline constexpr int kMaxUnitQueries = 192;
// Query vectors that the innermost loops work on together.
inline constexpr int kMaxRun = 4;
// Query vectors that take their scores, and then their values, together: for as long a tile's keys,
// and then its values, stay in the first cache.
inline constexpr int kMaxStep = 2 * kLanes;

// Query rows of one sequence and the q heads of one kv head against consecutive key ranges.
struct Unit {
  const int32_t* pages = nullptr;  // the sequence's page table; null: its keys lie in a row
  int64_t first_key = 0;           // where they start then, in tokens
  int64_t keys = 0;                // of the sequence
  int64_t first_row = 0;           // in the call
  int64_t first_position = 0;      // of first_row
  int32_t rows = 0;
  int32_t kv_head = 0;
  int64_t range_begin = 0;  // key ranges [range_begin, range_end), in multiples of kKeyRange
  int64_t range_end = 0;
  // Set where other units have the other ranges of the same queries: partial results go there, and
  // the unit that finishes last merges them.
  float* partials = nullptr;      // [rows * group, merge_ranges, PartialFloats(Dv)]
  int32_t* units_left = nullptr;  // units of these queries that have not finished
  int64_t merge_range_begin = 0;  // the first range of `partials`
  int32_t merge_ranges = 0;
};

// Keys [begin, end) of a tile.
struct TileKeys {
  int begin;
  int end;
  bool operator==(const TileKeys&) const = default;
};

// acc [Dv], then the softmax denominator, then the largest score.
inline int64_t PartialFloats(int value_dim) {
  return value_dim + kLanes;
}

// Where the rows of a tile lie: element 0 of key j is at keys[j] of the kv head's keys.
struct TileOffsets {
  int64_t* keys = nullptr;    // [kKeyTile]
  int64_t* values = nullptr;  // [kKeyTile]; keys itself where both have the same strides
};

// Scratch memory of one worker.
struct Scratch {
  float* query = nullptr;         // [queries, Dk], or by columns, kLanes together
  float* acc = nullptr;           // [queries, Dv]: of the range in work
  float* sum = nullptr;           // [queries, kLanes]
  float* max = nullptr;           // [queries]
  float* total_acc = nullptr;     // [queries, Dv]: of the ranges before it
  float* total_sum = nullptr;     // [queries]
  float* total_max = nullptr;     // [queries]
  float* scores = nullptr;        // [kMaxStep, kKeyTile]
  float* columns = nullptr;       // [kKeyTile, Dk] keys by columns
  float* keys = nullptr;          // [kKeyTile, Dk] in fp32
  float* values = nullptr;        // [kKeyTile, Dv]; `keys` itself where values are parts of keys
  float* key_scale = nullptr;     // [kKeyTile]
  float* value_scale = nullptr;   // [kKeyTile]
  TileOffsets offsets[2];         // of a tile and of the next one
  int64_t* key_rows = nullptr;    // [kKeyTile] of the rows of `keys`
  int64_t* value_rows = nullptr;  // [kKeyTile] of the rows of `values`
};

// Whether values are the first elements of the keys' own rows.
inline bool ValuesAreKeys(const Problem& problem) {
  return problem.key.data == problem.value.data && problem.key.scale == problem.value.scale &&
         problem.key.strides == problem.value.strides;
}

// The unit function of one instruction set, by the type of keys and values.
struct Kernels {
  using Function = void (*)(const Problem& problem, const Unit& unit, const Scratch& scratch);
  Function f32 = nullptr;
  Function f16 = nullptr;
  Function bf16 = nullptr;
  Function f8e4m3 = nullptr;
};

Kernels BaselineKernels();
Kernels Avx2Kernels();    // REQUIRES: x86 and CpuIsa::kAvx2
Kernels Avx512Kernels();  // REQUIRES: x86 and CpuIsa::kAvx512

// Runs all units of `problem` on the context's threads. REQUIRES: a checked problem on the host.
Status RunUnits(const OpContext& context, const Problem& problem, const Kernels& kernels);

}  // namespace quire::ops::attention::cpu
