// The rotary frequencies of a model and their table for one step.
#pragma once

#include <cmath>
#include <vector>

#include "ops/batch.h"
#include "ops/rope/rope.h"

namespace quire {

class RopeTable {
 public:
  RopeTable() = default;
  // Frequencies theta^(-2 i / dim) / scaling_factor for i < dim / 2, each divided by factors[i]
  // where factors are given (Llama 3's long-context frequencies).
  RopeTable(int32_t dim, float theta, float scaling_factor, std::span<const float> factors = {}) {
    for (int32_t i = 0; i < dim / 2; ++i) {
      const float frequency =
          1.0f / std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(dim));
      const float factor = factors.empty() ? 1.0f : factors[static_cast<size_t>(i)];
      inverse_frequency_.push_back(frequency / scaling_factor / factor);
    }
  }

  // cos and sin [T, dim / 2, 2] of the batch's positions, in the context's workspace.
  TensorView ForBatch(const ops::OpContext& context, const Batch& batch) const {
    const auto half = static_cast<int64_t>(inverse_frequency_.size());
    const int64_t rows = batch.num_tokens();
    auto* data = context.workspace.Allocate<float>(static_cast<size_t>(rows * half * 2));
    ops::rope::ComputeCosSin(batch.positions, inverse_frequency_, 1.0f, data);
    return {data, DType::kF32, {rows, half, 2}};
  }

 private:
  std::vector<float> inverse_frequency_;
};

}  // namespace quire
