// soft_cap: x = cap * tanh(x / cap), which keeps logits within (-cap, cap) (Gemma 2).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::soft_cap {

struct Args {
  TensorView x;   // f32 [R, V], contiguous; changed in place
  float cap = 1;  // > 0
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shape, type, place, cap).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::soft_cap
