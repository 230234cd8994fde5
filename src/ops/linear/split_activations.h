// Activations as the sum of two rounded terms: one product of twice the rows, then a sum of row
// pairs.
#pragma once

#include "ops/linear/linear.h"

namespace quire::ops::linear {

// A product of 2 M rows: row 2 t is row t of x rounded as the weight reads it (8-bit codes
// or bf16), row 2 t + 1 what that lost.
struct SplitProblem {
  Args args;  // x [2 M, K] and out [2 M, N] in the workspace
};

// Builds the problem for valid `args`, in the context's workspace. A row depends on its own x
// alone.
SplitProblem SplitActivations(const OpContext& context, const Args& args);

// The product of the odd rows of that problem alone, added to args.out where args.near_largest
// says.
Args SecondTerms(const OpContext& context, const Args& args);

// args.out = (or +=) the sums of the pairs of split.args.out, plus the bias.
void SumTerms(const OpContext& context, const SplitProblem& split, const Args& args);

}  // namespace quire::ops::linear
