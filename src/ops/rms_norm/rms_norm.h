// rms_norm: out = x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang & Sennrich,
// 2019).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::rms_norm {

struct Args {
  TensorView x;  // f32 [T, D] or [T, H, D]; the last axis contiguous, the others may be strided
  TensorView weight;  // f32 [D]
  TensorView out;     // f32, the shape of x; may be x itself
  float epsilon = 1e-5f;
  bool accumulate = false;  // out += instead of out =: the residual connection of post-norm layers
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// A row of out depends on that row alone, bit for bit. Errors: invalid_argument (shapes, types,
// places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::rms_norm
