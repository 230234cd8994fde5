#include "attention/paged/cuda_layer.h"

#include "ops/flash_attention/flash_attention_problem.h"

namespace quire {

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
