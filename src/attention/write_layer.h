// What every backend does with a layer before it attends.
#pragma once

#include "attention/attention_backend.h"

namespace quire {

// Whether the layer is of the step whose arrays `views` has; then turns its queries and keys, where
// they do not come turned, and writes its keys and values into their slots. Errors:
// invalid_argument; those of ops/rope_and_cache.
Status WriteLayer(const ops::OpContext& context, const LayerAttention& layer,
                  const BatchViews& views);

}  // namespace quire
