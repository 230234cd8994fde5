// moe_route: which experts a token goes to, and with which weights (Shazeer et al., 2017,
// "Outrageously large neural networks"; with groups and a correction bias: DeepSeek-AI, 2024,
// "DeepSeek-V3 technical report", section 2.1.2).
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::moe_route {

enum class Scoring : uint8_t {
  kSoftmax,      // choose by logit; weight = softmax over all experts
  kTopKSoftmax,  // choose by logit; weight = softmax over the chosen
  kSigmoid,      // choose by sigmoid(logit) + bias; weight = sigmoid(logit)
};

struct Args {
  TensorView logits = {};  // f32, f16 or bf16 [T, E], rows may be strided
  TensorView bias =
      {};  // optional f32 [E], contiguous, kSigmoid only: takes part in the choice alone
  TensorView ids = {};      // i32 [T, k], contiguous: the chosen experts, best first
  TensorView weights = {};  // f32 [T, k], contiguous
  Scoring scoring = Scoring::kSoftmax;
  bool renormalize = false;  // divide the weights by their sum (kSigmoid: plus 1e-20)
  // The experts, in order, form `groups` groups of E / groups. Only the best `top_groups` groups
  // can be chosen from. A group is as good as its best logit or, with kSigmoid, as the sum of its
  // two best biased scores (its only one if it has one).
  int groups = 1;
  int top_groups = 1;
  float scale = 1.0f;  // multiplies the weights, last (DeepSeek's routed_scaling_factor)
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// A token's results depend on its own logits alone, bit for bit. Equal scores go to the lowest id,
// equal groups to the lowest group; a NaN is below every number. So the ids are always k different
// experts, in the same order at every instruction set; weights are what arithmetic makes of NaN and
// infinities. T = 0 does nothing. Errors: invalid_argument (shapes, types, places, k above the
// experts of top_groups groups).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::moe_route
