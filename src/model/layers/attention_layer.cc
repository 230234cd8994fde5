#include "model/layers/attention_layer.h"

#include "ops/scratch.h"

namespace quire {

Result<AttentionLayer> AttentionLayer::Load(WeightReader& reader, const ModelConfig& config,
                                            const std::string& prefix, const Options& options) {
  AttentionLayer layer;
  layer.options_ = options;
  layer.num_heads_ = config.num_heads;
  layer.num_kv_heads_ = config.num_kv_heads;
  layer.head_dim_ = config.head_dim;
  layer.soft_cap_ = config.attention_soft_cap;
  const int64_t query = int64_t{config.num_heads} * config.head_dim;
  const int64_t key = int64_t{config.num_kv_heads} * config.head_dim;
  QUIRE_ASSIGN_OR_RETURN(layer.qkv_, reader.Linear({{prefix + "attn_q.weight", query},
                                                    {prefix + "attn_k.weight", key},
                                                    {prefix + "attn_v.weight", key}},
                                                   config.hidden_size));
  QUIRE_ASSIGN_OR_RETURN(
      layer.output_, reader.Linear({{prefix + "attn_output.weight", config.hidden_size}}, query));
  if (options.query_key_norm) {
    QUIRE_ASSIGN_OR_RETURN(layer.query_norm_,
                           RmsNormLayer::Load(reader, prefix + "attn_q_norm.weight",
                                              config.head_dim, config.norm_epsilon));
    QUIRE_ASSIGN_OR_RETURN(
        layer.key_norm_, RmsNormLayer::Load(reader, prefix + "attn_k_norm.weight", config.head_dim,
                                            config.norm_epsilon));
  }
  return layer;
}

Status AttentionLayer::Forward(const ops::OpContext& context, const Step& step,
                               const RmsNormLayer& norm, const TensorView& x, const TensorView& out,
                               bool accumulate) const {
  const Workspace::Scope scope(context.workspace);
  const int64_t rows = x.dim(0);
  const int64_t query_size = int64_t{num_heads_} * head_dim_;
  const int64_t key_size = int64_t{num_kv_heads_} * head_dim_;
  const int64_t qkv_size = query_size + 2 * key_size;
  const TensorView qkv = ops::Scratch(context, x.dtype(), {rows, qkv_size});
  QUIRE_RETURN_IF_ERROR(ops::linear::Run(context, {.x = x,
                                                   .weight = qkv_.get(),
                                                   .bias = {},
                                                   .out = qkv,
                                                   .next = output_.get(),
                                                   .norm = norm.BeforeProduct()}));
  const TensorView query = qkv.Columns(0, query_size).SplitLast(head_dim_);
  const TensorView key = qkv.Columns(query_size, query_size + key_size).SplitLast(head_dim_);
  const TensorView value = qkv.Columns(query_size + key_size, qkv_size).SplitLast(head_dim_);
  if (options_.query_key_norm) {
    QUIRE_RETURN_IF_ERROR(query_norm_.Forward(context, query, query));
    QUIRE_RETURN_IF_ERROR(key_norm_.Forward(context, key, key));
  }
  const TensorView attended = ops::Scratch(context, x.dtype(), {rows, query_size});
  QUIRE_RETURN_IF_ERROR(step.backend.Run(context, {.cache = step.kv,
                                                   .query = query,
                                                   .key = key,
                                                   .value = value,
                                                   .out = attended.SplitLast(head_dim_),
                                                   .scale = options_.scale,
                                                   .window_left = options_.window_left,
                                                   .logit_soft_cap = soft_cap_,
                                                   .cos_sin = step.cos_sin,
                                                   .rope_style = options_.rope_style}));
  return ops::linear::Run(context, {.x = attended,
                                    .weight = output_.get(),
                                    .bias = {},
                                    .out = out,
                                    .accumulate = accumulate,
                                    .next = step.next});
}

}  // namespace quire
