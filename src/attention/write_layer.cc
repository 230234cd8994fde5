#include "attention/write_layer.h"

#include "ops/reshape_and_cache/reshape_and_cache.h"
#include "ops/rope_and_cache/rope_and_cache.h"

namespace quire {

Status WriteLayer(const ops::OpContext& context, const LayerAttention& layer,
                  const BatchViews& views) {
  if (layer.query.rank() != 3 || layer.query.dim(0) != views.num_tokens()) {
    return InvalidArgument("attention over a batch of ", views.num_tokens(),
                           " tokens has the query ", Describe(layer.query));
  }
  if (views.num_tokens() == 0) {
    return OkStatus();
  }
  if (layer.cos_sin.rank() == 0) {
    return ops::reshape_and_cache::Run(context, {.key = layer.key,
                                                 .value = layer.value,
                                                 .slot_mapping = views.slot_mapping,
                                                 .cache = layer.cache});
  }
  return ops::rope_and_cache::Run(context, {.query = layer.query,
                                            .key = layer.key,
                                            .value = layer.value,
                                            .cos_sin = layer.cos_sin,
                                            .style = layer.rope_style,
                                            .slot_mapping = views.slot_mapping,
                                            .cache = layer.cache});
}

}  // namespace quire
