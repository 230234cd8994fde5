// The passes over a whole row of logits, one set of functions for each instruction set.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "platform/cpu/cpu_device.h"

namespace quire::ops::topk_topp_sampling {

// Logits whose largest is remembered, so that later passes skip most of a row.
inline constexpr int64_t kBlock = 256;

inline int64_t BlocksOf(int64_t vocabulary) {
  return (vocabulary + kBlock - 1) / kBlock;
}

struct Candidate {
  uint64_t key;     // of KeyOf()
  uint64_t weight;  // of WeightOf()
};

struct RowScan {
  // Fills block_max [BlocksOf(vocabulary)]; returns whether a logit is NaN (block_max is then
  // meaningless).
  bool (*block_max)(const float* logits, int64_t vocabulary, float* block_max);
  // The sum of WeightOf() over the row.
  uint64_t (*weight_sum)(const float* logits, int64_t vocabulary, const float* block_max, float max,
                         float temperature);
  // Sets `candidates` to the keys of all logits >= threshold, in ascending order of tokens, weights
  // not set; returns how many there are.
  int64_t (*gather)(const float* logits, int64_t vocabulary, const float* block_max,
                    float threshold, Candidate* candidates);
  // Sets the weights of `count` candidates from their keys; returns the sum.
  uint64_t (*weigh)(Candidate* candidates, int64_t count, float max, float temperature);
};

// REQUIRES: the machine has `isa`.
const RowScan& RowScanOf(CpuIsa isa);

}  // namespace quire::ops::topk_topp_sampling
