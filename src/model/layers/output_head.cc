#include "model/layers/output_head.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace quire {

Result<OutputHead> OutputHead::Load(WeightReader& reader, const ModelConfig& config) {
  OutputHead head;
  head.soft_cap_ = config.final_logit_soft_cap;
  QUIRE_ASSIGN_OR_RETURN(head.norm_, RmsNormLayer::Load(reader, "output_norm.weight",
                                                        config.hidden_size, config.norm_epsilon));
  const std::string name = reader.Has("output.weight") ? "output.weight" : "token_embd.weight";
  QUIRE_ASSIGN_OR_RETURN(head.projection_,
                         reader.Linear({{name, config.vocab_size}}, config.hidden_size));
  head.split_activations_ = reader.quantizes_activations();
  return head;
}

Status OutputHead::Forward(const ops::OpContext& context, const Batch& batch,
                           const TensorView& hidden, const TensorView& logits) const {
  const Workspace::Scope scope(context.workspace);
  const auto rows = static_cast<int64_t>(batch.logit_rows.size());
  const int64_t size = hidden.dim(1);
  const TensorView wanted(context.workspace.Allocate<float>(static_cast<size_t>(rows * size)),
                          DType::kF32, {rows, size});
  for (int64_t row = 0; row < rows; ++row) {
    const float* source = hidden.as<float>() + batch.logit_rows[static_cast<size_t>(row)] * size;
    std::memcpy(wanted.as<float>() + row * size, source, static_cast<size_t>(size) * sizeof(float));
  }
  QUIRE_RETURN_IF_ERROR(norm_.Forward(context, wanted, wanted));
  // Rounding errors here go straight to the logits; where a token is as good as never drawn (less
  // than 1/50 of the likeliest) they do not matter.
  const float near_largest = split_activations_ ? 4.0f : std::numeric_limits<float>::infinity();
  QUIRE_RETURN_IF_ERROR(ops::linear::Run(context, {.x = wanted,
                                                   .weight = projection_.get(),
                                                   .bias = {},
                                                   .out = logits,
                                                   .split_activations = split_activations_,
                                                   .near_largest = near_largest}));
  if (soft_cap_ > 0) {
    float* values = logits.as<float>();
    std::transform(values, values + logits.shape().elements(), values,
                   [cap = soft_cap_](float value) { return cap * std::tanh(value / cap); });
  }
  return OkStatus();
}

}  // namespace quire
