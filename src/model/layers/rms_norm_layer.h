// A root-mean-square norm with its weight.
#pragma once

#include "model/layers/weight_reader.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"

namespace quire {

class RmsNormLayer {
 public:
  RmsNormLayer() = default;
  static Result<RmsNormLayer> Load(WeightReader& reader, const std::string& name, int64_t size,
                                   float epsilon) {
    QUIRE_ASSIGN_OR_RETURN(Tensor weight, reader.Vector(name, size));
    return RmsNormLayer(std::move(weight), epsilon);
  }

  // out = norm(x), or out += norm(x); x and out [T, size] or [T, H, size] of one type.
  Status Forward(const ops::OpContext& context, const TensorView& x, const TensorView& out,
                 bool accumulate = false) const {
    return ops::rms_norm::Run(context, {.x = x,
                                        .weight = weight_.view(),
                                        .out = out,
                                        .epsilon = epsilon_,
                                        .accumulate = accumulate});
  }

  // The same norm before a product.
  ops::linear::InputNorm BeforeProduct() const {
    return {.weight = weight_.view(), .epsilon = epsilon_};
  }

 private:
  RmsNormLayer(Tensor weight, float epsilon) : weight_(std::move(weight)), epsilon_(epsilon) {}

  Tensor weight_;
  float epsilon_ = 0;
};

}  // namespace quire
