// act_and_mul: out = activation(gate) * up, the gated feed-forward (Shazeer, 2020).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::act_and_mul {

enum class Activation : uint8_t {
  kSilu,      // x / (1 + exp(-x))
  kGeluTanh,  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
};

struct Args {
  TensorView gate_up;  // f32 [T, 2 F]: the gate in the first F columns, up in the last; rows may be
                       // strided
  TensorView out;      // f32 [T, F]; may be the first F columns of gate_up
  Activation activation = Activation::kSilu;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// An element of out depends on its own two inputs alone, bit for bit, whatever its place in the row
// or the step. Errors: invalid_argument (shapes, types, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::act_and_mul
