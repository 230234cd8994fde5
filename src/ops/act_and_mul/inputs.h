// The two inputs of a valid problem, whichever way they were given.
#pragma once

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/row_views.h"

namespace quire::ops::act_and_mul {

struct Inputs {
  explicit Inputs(const Args& args) : gate(args.gate), up(args.up) {
    if (IsGiven(args.gate_up)) {
      const int64_t features = args.out.dim(1);
      gate = args.gate_up.Columns(0, features);
      up = args.gate_up.Columns(features, 2 * features);
    }
  }

  TensorView gate;  // [T, F]
  TensorView up;    // [T, F], or not given
};

}  // namespace quire::ops::act_and_mul
