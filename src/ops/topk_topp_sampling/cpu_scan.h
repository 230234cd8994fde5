// The passes over a whole row of logits, one set of functions for each instruction set.
#pragma once

#include <cstdint>
#include <limits>

#include "platform/cpu/cpu_device.h"

namespace quire::ops::topk_topp_sampling {

// Logits whose largest is remembered, so that later passes skip most of a row.
inline constexpr int64_t kBlock = 256;
// Logits whose weights are summed together: a few sums then lead to any token.
inline constexpr int64_t kGroupBlocks = 16;
inline constexpr int64_t kGroup = kGroupBlocks * kBlock;
// How many thresholds RowScan::weights_above takes.
inline constexpr int kCuts = 2;

inline int64_t BlocksOf(int64_t vocabulary) {
  return (vocabulary + kBlock - 1) / kBlock;
}
inline int64_t GroupsOf(int64_t vocabulary) {
  return (vocabulary + kGroup - 1) / kGroup;
}

// A row to scan and what is known of it. max and scale are those of WeightOf().
struct Row {
  const float* logits;
  int64_t vocabulary;
  const float* block_max;  // [BlocksOf(vocabulary)]
  float max;
  float scale;
  // The logits that will be scanned after these (or these again): their cache lines are fetched
  // while these are weighed, which leaves the memory idle.
  const float* next;
};

// least <= logit < limit. Empty by default.
struct LogitRange {
  float least = std::numeric_limits<float>::infinity();
  float limit = -std::numeric_limits<float>::infinity();

  // 1 or 0: without a branch, which could not be predicted.
  int Has(float logit) const {
    return static_cast<int>(logit >= least) & static_cast<int>(logit < limit);
  }
};

// Some tokens of a row, in ascending order of ids.
struct Gathered {
  float* logits;
  int32_t* tokens;
  uint64_t* weights;
  int64_t count;
  float low;   // no logit is less
  float high;  // or greater
};

struct RowScan {
  // Fills block_max [BlocksOf(vocabulary)]; returns whether a logit is NaN (block_max is then
  // meaningless).
  bool (*block_max)(const float* logits, int64_t vocabulary, float* block_max);
  // Fills group_weights [GroupsOf(vocabulary)] with the sums of the weights of groups of kGroup
  // tokens; returns their sum.
  uint64_t (*group_weights)(const Row& row, uint64_t* group_weights);
  // The first token at or after `begin` at which the weights from `begin` on sum to `wanted`.
  int64_t (*find_weight)(const Row& row, int64_t begin, uint64_t wanted);
  // above[i]: the weight of the tokens with logits >= cuts[i]. Returns that of all. Looks only at
  // the first `blocks` of each group: all are kGroupBlocks.
  uint64_t (*weights_above)(const Row& row, int64_t blocks, const float* cuts, uint64_t* above);
  // Sets all but the weights to the tokens in `range`.
  void (*gather)(const Row& row, const LogitRange& range, Gathered& gathered);
  // Sets `tokens` to those in either of two ranges, ascending; returns how many there are. There is
  // room for all and a vector more.
  int64_t (*find_in_ranges)(const Row& row, const LogitRange* ranges, int32_t* tokens);
  // Sets the weights; returns their sum.
  uint64_t (*weigh)(const Row& row, Gathered& gathered);
};

// REQUIRES: the machine has `isa`.
const RowScan& RowScanOf(CpuIsa isa);

}  // namespace quire::ops::topk_topp_sampling
