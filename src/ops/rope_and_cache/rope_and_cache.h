// rope_and_cache: turns the queries and keys of new tokens and writes keys and values into their
// slots of the paged cache, as rope and then reshape_and_cache do.
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "ops/rope/rope.h"
#include "tensor/tensor_view.h"

namespace quire::ops::rope_and_cache {

// Of the two operators, whose headers say more.
struct Args {
  TensorView query;    // f32, f16 or bf16 [T, Hq, D], turned in place; T and H may be strided
  TensorView key;      // the type of query [T, Hkv, D]; likewise
  TensorView value;    // the type of query [T, Hkv, Dv]; read, no memory of the others
  TensorView cos_sin;  // f32 [T, r / 2, 2], contiguous
  rope::Style style = rope::Style::kNeox;
  TensorView slot_mapping;  // i32 or i64 [T]; a negative token is turned, but not written
  PagedKvView cache;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// There is one right answer, that of rope::Run() on query and key followed by
// reshape_and_cache::Run(). Errors, before anything is written: theirs.
Status Run(const OpContext& context, const Args& args);

// Runs the two operators, each by the implementation that `context` names.
Status RunComposed(const OpContext& context, const Args& args);
// The same by the best of each, as a platform lists it.
Implementation<Args> Composed();

}  // namespace quire::ops::rope_and_cache
