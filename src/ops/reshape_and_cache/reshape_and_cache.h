// reshape_and_cache: writes the keys and values of new tokens into their slots of the paged cache.
//
// The cache may store f8e4m3: with one scale for all keys and one for all values, which the caller
// gives, or with a scale for each token and kv head, which this operator computes. What is stored
// is x / scale, divided in fp32 and rounded once.
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::reshape_and_cache {

struct Args {
  TensorView key;    // f32, f16 or bf16 [T, Hkv, Dk]; T and H may be strided, Dk contiguous
  TensorView value;  // the type of key [T, Hkv, Dv]; likewise
  // i32 or i64 [T]: page * page size + offset; negative = the token is skipped. If two tokens have
  // one slot, it is not said what the slot holds afterwards.
  TensorView slot_mapping;
  // Written: k and v, and k_scale and v_scale where scaling is kPerTokenHead. Where it is
  // kPerTensor they are inputs, finite and positive.
  PagedKvView cache;
};

using Implementations = ImplementationList<Args>;

// The errors of Run() for arrays at `place`.
Status Validate(const Args& args, Place place);

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Rounds to the nearest, ties to even. f16 and bf16 overflow to infinity, f8e4m3 saturates at 448
// (infinities too); NaN stays NaN; a cache of the inputs' type gets their bits. What a slot gets
// depends on its token alone.
//
// The scale of a token and head is the largest finite magnitude of its row / 448, at least 2^-126;
// 1 where the row has no finite element but zeros. So NaN and infinities do not spoil their
// neighbours: they are stored as NaN and 448 (times the scale).
//
// Errors, before anything is written: invalid_argument (shapes, types, places; where the host can
// read them, scales and slots: a slot past the cache, naming token and slot). A kernel whose slots
// the host cannot read skips those past the cache.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::reshape_and_cache
