#include "attention/paged/cuda_layer.h"

#include "ops/flash_attention/flash_attention_problem.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"

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
  ops::reshape_and_cache::Args args;
  args.key = layer.key;
  args.value = layer.value;
  args.slot_mapping = views.slot_mapping;
  args.cache = layer.cache;
  return ops::reshape_and_cache::Run(context, args);
}

ops::attention::Problem ProblemOf(const LayerAttention& layer, const BatchViews& views) {
  ops::flash_attention::Args args;
  args.query = layer.query;
  args.query_start = views.query_start;
  args.cache = layer.cache;
  args.page_table = views.page_table;
  args.kv_length = views.kv_length;
  args.out = layer.out;
  args.scale = layer.scale;
  args.window_left = layer.window_left;
  args.logit_soft_cap = layer.logit_soft_cap;
  return ops::flash_attention::ProblemOf(args);
}

}  // namespace quire
