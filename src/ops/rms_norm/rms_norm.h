// rms_norm: out = x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang & Sennrich,
// 2019).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::rms_norm {

struct Args {
  // f32, f16 or bf16 [T, D] or [T, H, D] (the heads of queries and keys); the last axis contiguous,
  // the others may be strided.
  TensorView x;
  TensorView weight;  // f32 or the type of x, [D]
  TensorView out;     // the type and shape of x; may be x itself
  float epsilon = 1e-5f;
  bool accumulate = false;  // out += instead of out =: the residual connection of post-norm layers
  // Optional, the type and shape of x, none of its memory in x or out. residual += x, rounded to
  // its type; then the sum is normed instead of x: the residual connection of pre-norm layers.
  TensorView residual = {};
  float weight_offset = 0.0f;  // added to every weight; 1 for Gemma, whose weights lie around 0
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// All arithmetic is in fp32, rounded once to the type of out. A row of out depends on that row
// alone, bit for bit. Errors: invalid_argument (shapes, types, places, a residual that is x or
// out).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::rms_norm
