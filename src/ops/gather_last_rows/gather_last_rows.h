// gather_last_rows: out [r] = x [row r], for the few rows of a step whose logits are wanted.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::gather_last_rows {

// Exactly one of `rows` and `query_start` is given.
struct Args {
  TensorView x;                 // f32, f16 or bf16 [T, D]; rows may be strided
  TensorView rows = {};         // i32 [R], contiguous, 0 <= row < T, in any order
  TensorView query_start = {};  // i32 [R + 1], contiguous, ascending, at most T: sequence r has the
                                // rows query_start[r] .. query_start[r + 1]; its last is taken
  TensorView out;               // the type of x, [R, D]; rows may be strided; no memory of x
};

// The row of x that row `r` of out copies. REQUIRES: valid arguments.
inline int64_t SourceRow(const Args& args, int64_t r) {
  return args.rows.rank() > 0 ? args.rows.as<int32_t>()[r]
                              : args.query_start.as<int32_t>()[r + 1] - 1;
}

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Copies bytes: a NaN keeps its bits. Errors: invalid_argument (shapes, types, places; where the
// host can read them, a row outside x or a sequence without rows, naming it). A kernel whose rows
// the host cannot read leaves those of out alone whose row is outside x.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::gather_last_rows
