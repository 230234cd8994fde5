// layer_norm: out = (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis
// (Ba et al., 2016); variance = mean((x - mean)^2).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::layer_norm {

struct Args {
  // f32, f16 or bf16 [T, D] or [T, H, D]; the last axis contiguous, the others may be strided.
  TensorView x;
  TensorView weight;     // f32 or the type of x, [D]
  TensorView bias = {};  // optional, the type and shape of weight
  TensorView out;        // the type and shape of x; may be x itself
  float epsilon = 1e-5f;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// All arithmetic is in fp32, rounded once to the type of out; the mean comes first, then the
// variance around it, so a large mean costs no digits. A row of out depends on that row alone, bit
// for bit. Errors: invalid_argument (shapes, types, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::layer_norm
