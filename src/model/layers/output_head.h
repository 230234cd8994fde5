// The end of a decoder: the rows whose logits are wanted, their norm, the vocabulary projection, a
// soft cap.
#pragma once

#include "model/layers/rms_norm_layer.h"
#include "ops/batch_views.h"

namespace quire {

class OutputHead {
 public:
  OutputHead() = default;
  // Reads "output_norm.weight" and "output.weight", or the input embedding where that is missing
  // (tied).
  static Result<OutputHead> Load(WeightReader& reader, const ModelConfig& config);

  // logits [R, V] f32 of the rows batch.logit_rows of hidden [T, hidden].
  Status Forward(const ops::OpContext& context, const BatchViews& batch, const TensorView& hidden,
                 const TensorView& logits) const;

  const ops::linear::PackedWeight& weight() const { return *projection_; }

 private:
  RmsNormLayer norm_;
  std::shared_ptr<const ops::linear::PackedWeight> projection_;
  bool split_activations_ = false;  // of the logits near the largest
  float soft_cap_ = 0;
};

}  // namespace quire
