// embedding: rows of a table by token id.
#pragma once

#include <cstdint>
#include <span>

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::embedding {

struct Args {
  std::span<const int32_t> tokens = {};  // [T], 0 <= token < V; on the CPU alone
  TensorView table;     // [V, D] f32, f16, bf16 or quantized; rows may be strided by whole blocks
  TensorView out;       // f32, f16 or bf16 [T, D]; rows may be strided; no memory of the table
  float scale = 1.0f;   // multiplies every element (Gemma: sqrt(D))
  TensorView ids = {};  // i32 or i64 [T], contiguous: given instead of tokens
  // Optional i32 [R], contiguous: a token id of -1 - r is its element r, which the device may still
  // be to write when this is enqueued.
  TensorView drawn = {};
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// An element is widened to fp32, multiplied and rounded once; rows of out's own type are copied bit
// for bit where scale is 1. Errors: invalid_argument (shapes, types, places; where the host can
// read them, a token id outside the table, naming it). A kernel whose ids the host cannot read
// writes zeros for those outside the table.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::embedding
