// concat_and_cache_mla: writes the latent and the rotary part of new tokens, one after the other,
// into their rows of the latent cache of multi-head latent attention (DeepSeek-AI, 2024).
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::concat_and_cache_mla {

struct Args {
  TensorView latent;  // f32, f16 or bf16 [T, latent_dim]; T may be strided, elements contiguous
  TensorView rope;    // the type of latent [T, rope_dim]; likewise
  // i32 or i64 [T]: page * page size + offset; negative = the token is skipped. If two tokens have
  // one slot, it is not said what the slot holds afterwards.
  TensorView slot_mapping;
  // Written: data. A cache of f8e4m3 stores x / scale, divided in fp32 and rounded once; its scale
  // is an input, finite and positive.
  PagedLatentView cache;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Rounds to the nearest, ties to even. f16 and bf16 overflow to infinity, f8e4m3 saturates at 448
// (infinities too); NaN stays NaN; a cache of the inputs' type gets their bits. What a slot gets
// depends on its token alone.
//
// Errors, before anything is written: invalid_argument (shapes, types, places; where the host can
// read them, the scale and slots: a slot past the cache, naming token and slot). A kernel whose
// slots the host cannot read skips those past the cache.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::concat_and_cache_mla
