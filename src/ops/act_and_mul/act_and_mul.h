// act_and_mul: out = activation(gate) * up, the gated feed-forward (Shazeer, 2020); without up
// out = activation(gate).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::act_and_mul {

enum class Activation : uint8_t {
  kSilu,      // silu_and_mul: x / (1 + exp(-x))
  kGeluTanh,  // gelu_tanh_and_mul: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  kGelu,      // gelu_and_mul: 0.5 x (1 + erf(x / sqrt(2)))
};

// Either gate_up or gate is given. All arrays are of one type, f32, f16 or bf16, with a contiguous
// last axis; rows may be strided.
struct Args {
  TensorView gate_up = {};  // [T, 2 F]: the gate in the first F columns, up in the last
  TensorView out;           // [T, F]; may be the first F columns of gate_up, or gate, or up
  Activation activation = Activation::kSilu;
  TensorView gate = {};  // [T, F]
  TensorView up = {};    // [T, F], with gate only; without it nothing is multiplied
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// All arithmetic is in fp32, rounded once to the type of out. An element of out depends on its own
// two inputs alone, bit for bit, whatever its place in the row or the step. Errors:
// invalid_argument (shapes, types, places, neither or both of gate_up and gate).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::act_and_mul
