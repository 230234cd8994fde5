// reshape_and_cache: writes the keys and values of new tokens into their slots of the paged cache.
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::reshape_and_cache {

struct Args {
  TensorView key;    // f32 [T, Hkv, D]; T and H may be strided, D contiguous
  TensorView value;  // f32 [T, Hkv, D]; likewise
  TensorView
      slot_mapping;  // i32 or i64 [T]: page * page size + offset, all different; negative = skipped
  PagedKvView cache;  // written, rounding to the cache's type (nearest even)
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shapes, types, places; a slot past the cache, naming it; nothing is
// written then).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::reshape_and_cache
