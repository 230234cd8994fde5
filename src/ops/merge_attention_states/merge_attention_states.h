// merge_attention_states: attention over two disjoint sets of keys, a and b, made into attention
// over both, from the outputs and log-sum-exps of each (Dao et al., 2023, "Flash-Decoding"; Ye et
// al., 2025, "FlashInfer"):
//   lse = log(e^lse_a + e^lse_b), out = out_a e^(lse_a - lse) + out_b e^(lse_b - lse).
//
// Cascade: a prefix that sequences share is attended once, not causally, by the rows of all of them
// as one sequence; each sequence attends to the keys of its own causally; this merges the two.
// Attention sinks belong to one of the two alone, one in which every row sees a key.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::merge_attention_states {

struct Args {
  TensorView out_a;  // f32, f16 or bf16 [T, Hq, D]; D contiguous, T and H may be strided
  TensorView lse_a;  // f32 [T, Hq]; minus infinity where a has no keys: out_a is not read there
  TensorView out_b;  // as out_a
  TensorView lse_b;
  TensorView out;  // the type and shape of out_a; may be out_a or out_b
  TensorView lse;  // f32 [T, Hq]; may be lse_a or lse_b
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Where one side has no keys the result is the other side, bit for bit; where neither has, 0 and
// minus infinity. A head of a row depends on its own numbers alone, bit for bit. Errors:
// invalid_argument (shapes, types, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::merge_attention_states
