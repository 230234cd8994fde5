// The rotary frequencies of a model and their table for one step.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "ops/batch_views.h"
#include "ops/rope_table/rope_table.h"
#include "ops/scratch.h"
#include "tensor/tensor.h"

namespace quire {

class RopeTable {
 public:
  RopeTable() = default;
  // Frequencies theta^(-2 i / dim) / scaling_factor for i < dim / 2, each divided by factors[i]
  // where factors are given (Llama 3's long-context frequencies), on the context's device.
  static Result<RopeTable> Create(const ops::OpContext& context, int32_t dim, float theta,
                                  float scaling_factor, std::span<const float> factors = {}) {
    std::vector<float> frequencies;
    for (int32_t i = 0; i < dim / 2; ++i) {
      const float frequency =
          1.0f / std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(dim));
      const float factor = factors.empty() ? 1.0f : factors[static_cast<size_t>(i)];
      frequencies.push_back(frequency / scaling_factor / factor);
    }
    RopeTable table;
    QUIRE_ASSIGN_OR_RETURN(
        table.inverse_frequency_,
        Tensor::CopyOf(context.stream, {frequencies.data(), DType::kF32, {dim / 2}}));
    return table;
  }

  // cos and sin [T, dim / 2, 2] of the batch's positions, in the context's workspace.
  Result<TensorView> ForBatch(const ops::OpContext& context, const BatchViews& batch) const {
    const TensorView& frequencies = inverse_frequency_.view();
    const TensorView out =
        ops::Scratch(context, DType::kF32, {batch.num_tokens(), frequencies.dim(0), 2});
    QUIRE_RETURN_IF_ERROR(ops::rope_table::Run(
        context, {.positions = batch.positions, .inverse_frequency = frequencies, .out = out}));
    return out;
  }

 private:
  Tensor inverse_frequency_;  // f32 [dim / 2]
};

}  // namespace quire
