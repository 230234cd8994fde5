// Weights of 4-bit groups as checkpoints store them (WeightFormat::kAwq, kGptq, kGptq2), read
// element by element. Their packed form is that of the 4-bit blocks of 32: each group's scale and
// zero point is repeated for every 32 input features.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/linear/linear.h"

namespace quire::ops::linear {

class Int4Groups {
 public:
  // REQUIRES: a source of such a format that PackWeight() has checked; it outlives this.
  explicit Int4Groups(const WeightSource& source);

  // The input features in ascending order of their groups, so that groups are contiguous; empty if
  // they already are.
  const std::vector<int32_t>& input_order() const { return input_order_; }

  int Code(int64_t k, int64_t feature) const;  // 0 .. 15
  int64_t GroupOf(int64_t k) const;
  int Zero(int64_t group, int64_t feature) const;  // 0 .. 16
  float Scale(int64_t group, int64_t feature) const;

  // Row `feature` in fp32, in the order of x.
  void Expand(int64_t feature, float* out) const;

  // One panel of kind kU4Zero or kU4MinF32, in the order of input_order().
  void PackPanel(bool zero_points, int64_t panel, int64_t features, uint8_t* out) const;

 private:
  const WeightSource& source_;
  int64_t k_;
  int64_t group_;  // input features of a group
  std::vector<int32_t> input_order_;
};

// What a weight is: output and input features.
struct WeightExtents {
  int64_t n = 0;
  int64_t k = 0;
};
WeightExtents ExtentsOf(const WeightSource& source);

// Errors: see PackWeight().
Status CheckInt4Groups(const WeightSource& source);

}  // namespace quire::ops::linear
