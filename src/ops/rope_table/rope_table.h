// rope_table: the cosines and sines with which a step's tokens rotate, made once for all layers.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::rope_table {

struct Args {
  TensorView positions;          // i32 [T], contiguous
  TensorView inverse_frequency;  // f32 [r / 2], contiguous
  TensorView out;                // f32 [T, r / 2, 2], contiguous: rope::Args::cos_sin
  float scale = 1.0f;            // multiplies cos and sin (yarn)
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// out [t, i] = cos and sin of positions[t] * inverse_frequency[i], a product in fp32, as the models
// were trained. A row depends on its position alone. Errors: invalid_argument (shapes, types,
// places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::rope_table
