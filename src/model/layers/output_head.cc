#include "model/layers/output_head.h"

#include <limits>

#include "ops/gather_last_rows/gather_last_rows.h"
#include "ops/scratch.h"
#include "ops/soft_cap/soft_cap.h"

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

Status OutputHead::Forward(const ops::OpContext& context, const BatchViews& batch,
                           const TensorView& hidden, const TensorView& logits) const {
  const Workspace::Scope scope(context.workspace);
  const TensorView wanted =
      ops::Scratch(context, hidden.dtype(), {batch.logit_rows.dim(0), hidden.dim(1)});
  QUIRE_RETURN_IF_ERROR(
      ops::gather_last_rows::Run(context, {.x = hidden, .rows = batch.logit_rows, .out = wanted}));
  // Rounding errors here go straight to the logits; where a token is as good as never drawn (less
  // than 1/50 of the likeliest) they do not matter.
  const float near_largest = split_activations_ ? 4.0f : std::numeric_limits<float>::infinity();
  QUIRE_RETURN_IF_ERROR(ops::linear::Run(context, {.x = wanted,
                                                   .weight = projection_.get(),
                                                   .bias = {},
                                                   .out = logits,
                                                   .split_activations = split_activations_,
                                                   .near_largest = near_largest,
                                                   .norm = norm_.BeforeProduct()}));
  return soft_cap_ > 0 ? ops::soft_cap::Run(context, {.x = logits, .cap = soft_cap_}) : OkStatus();
}

}  // namespace quire
