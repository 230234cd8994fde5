// embedding: rows of a table by token id.
#pragma once

#include <cstdint>
#include <span>

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::embedding {

struct Args {
  std::span<const int32_t> tokens;  // [T], 0 <= token < V
  TensorView table;                 // [V, D], any floating or quantized type
  TensorView out;                   // f32 [T, D]
  float scale = 1.0f;               // multiplies every element (Gemma: sqrt(D))
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shapes, types, places; a token id outside the table, naming it).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::embedding
