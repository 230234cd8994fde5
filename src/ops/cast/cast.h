// cast: out = x in another floating type, times a scale if there is one.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::cast {

struct Args {
  TensorView x;      // f32, f16, bf16 or f8e4m3 [T, D]; rows may be strided, elements contiguous
  TensorView out;    // any of these types [T, D]; likewise
  TensorView scale;  // f32 [1] that x is multiplied with in fp32; undefined for none
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Rounds once, to the nearest, ties to even. f16 and bf16 overflow to infinity, f8e4m3 saturates at
// 448 (infinities too); NaN stays NaN. Without a scale equal types are copied bit for bit.
// out may be x itself where types have elements of one size and the views the same strides; else
// they do not overlap. Errors: invalid_argument (shapes, types, strides, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::cast
