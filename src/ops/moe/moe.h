// moe: the feed-forward of a mixture of experts (Shazeer et al., 2017). Each token goes through the
// gated feed-forwards of its chosen experts, and all tokens through the shared ones:
//   expert(x) = down(activation(gate(x)) * up(x))
//   out = sum over j of weights[j] * expert[ids[j]](x) (+ gate * sum of shared experts) (+ out)
// What moe_route chooses is its input.
#pragma once

#include <cstdint>
#include <span>

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/implementation.h"
#include "ops/linear/linear.h"

namespace quire::ops::moe {

struct Expert {
  const linear::PackedWeight* gate_up = nullptr;  // [2 I, H]: the gate in the first I features
  const linear::PackedWeight* down = nullptr;     // [H, I]
};

struct Args {
  TensorView x = {};                     // f32, f16 or bf16 [T, H], rows may be strided
  TensorView ids = {};                   // i32 [T, k], contiguous; -1 = not here, skipped
  TensorView weights = {};               // f32 [T, k], contiguous
  std::span<const Expert> experts = {};  // E; I may differ
  std::span<const Expert> shared = {};   // always on; may be empty
  // Optional [1, H]: the sum of the shared experts is multiplied by sigmoid(x * shared_gate^T).
  const linear::PackedWeight* shared_gate = nullptr;
  TensorView out = {};      // f32, f16 or bf16 [T, H], rows may be strided; does not overlap x
  bool accumulate = false;  // out += instead of out =: the residual connection
  act_and_mul::Activation activation = act_and_mul::Activation::kSilu;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// The products are linear's, and what the experts give is added in fp32 in ascending j, then the
// shared sum (itself in the order of `shared`), then out, and rounded once. A token's row depends
// on its own x, ids and weights alone, bit for bit; on other devices than the CPU only where the
// context is batch_invariant, else also on how many tokens there are. A token whose ids are all -1
// gets the shared part, or 0. T = 0 does nothing. Ids that the host cannot read are not checked:
// one that is not below E is skipped. Errors: invalid_argument (shapes, types, places, an id that
// is not -1 and not below E).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::moe
