// Experts through the products of ops/linear, for implementations of any platform.
#pragma once

#include "ops/moe/moe.h"

namespace quire::ops::moe {

// out = expert(x), or out += expert(x). Scratch memory is free again when it returns.
Status RunExpert(const OpContext& context, act_and_mul::Activation activation, const Expert& expert,
                 const TensorView& x, const TensorView& out, bool accumulate);

// What the shared experts give, in the workspace's innermost scope.
struct SharedSum {
  const float* sum = nullptr;    // [T, H], in the order of args.shared; null without any
  const float* gates = nullptr;  // [T] logits of what `sum` is multiplied with; null for 1
};
Result<SharedSum> RunShared(const OpContext& context, const Args& args);

}  // namespace quire::ops::moe
