// The gated feed-forward network with the norm before it: y = norm(x),
// down(activation(gate(y)) * up(y)).
#pragma once

#include <memory>

#include "model/layers/rms_norm_layer.h"
#include "model/layers/weight_reader.h"
#include "ops/act_and_mul/act_and_mul.h"
#include "ops/scratch.h"

namespace quire {

class GatedMlp {
 public:
  GatedMlp() = default;
  // Reads "<prefix>ffn_{gate,up,down}.weight".
  static Result<GatedMlp> Load(WeightReader& reader, const ModelConfig& config,
                               const std::string& prefix, ops::act_and_mul::Activation activation) {
    GatedMlp mlp;
    mlp.activation_ = activation;
    mlp.size_ = config.ffn_size;
    QUIRE_ASSIGN_OR_RETURN(mlp.gate_up_,
                           reader.Linear({{prefix + "ffn_gate.weight", config.ffn_size},
                                          {prefix + "ffn_up.weight", config.ffn_size}},
                                         config.hidden_size));
    QUIRE_ASSIGN_OR_RETURN(
        mlp.down_,
        reader.Linear({{prefix + "ffn_down.weight", config.hidden_size}}, config.ffn_size));
    return mlp;
  }

  // out = mlp(norm(x)), or out += mlp(norm(x)); x, out [T, hidden] of one type; out may be x.
  // `next` is linear::Args::next of the layer.
  Status Forward(const ops::OpContext& context, const RmsNormLayer& norm, const TensorView& x,
                 const TensorView& out, bool accumulate,
                 const ops::linear::PackedWeight& next) const {
    const Workspace::Scope scope(context.workspace);
    const TensorView gated = ops::Scratch(context, x.dtype(), {x.dim(0), size_});
    QUIRE_RETURN_IF_ERROR(ops::linear::Run(context, {.x = x,
                                                     .weight = gate_up_.get(),
                                                     .bias = {},
                                                     .out = gated,
                                                     .next = down_.get(),
                                                     .norm = norm.BeforeProduct(),
                                                     .activation = activation_}));
    return ops::linear::Run(context, {.x = gated,
                                      .weight = down_.get(),
                                      .bias = {},
                                      .out = out,
                                      .accumulate = accumulate,
                                      .next = &next});
  }

  const ops::linear::PackedWeight& first_weight() const { return *gate_up_; }

 private:
  ops::act_and_mul::Activation activation_ = ops::act_and_mul::Activation::kSilu;
  int64_t size_ = 0;
  std::shared_ptr<const ops::linear::PackedWeight> gate_up_;
  std::shared_ptr<const ops::linear::PackedWeight> down_;
};

}  // namespace quire
