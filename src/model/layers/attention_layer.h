// Grouped-query self-attention with its projections: q, k, v -> norms and rope -> paged attention
// -> output.
#pragma once

#include <memory>

#include "model/layers/rms_norm_layer.h"
#include "model/layers/weight_reader.h"
#include "model/model.h"
#include "ops/rope/rope.h"

namespace quire {

class AttentionLayer {
 public:
  struct Options {
    ops::rope::Style rope_style = ops::rope::Style::kNeox;
    bool query_key_norm = false;  // "<prefix>attn_q_norm", "<prefix>attn_k_norm"
    float scale = 1.0f;           // of the dot products
    int32_t window_left = -1;     // earlier tokens that a token sees; -1 = all
  };

  AttentionLayer() = default;
  // Reads "<prefix>attn_{q,k,v,output}.weight".
  static Result<AttentionLayer> Load(WeightReader& reader, const ModelConfig& config,
                                     const std::string& prefix, const Options& options);

  // What a step's layers share.
  struct Step {
    AttentionBackend& backend;
    TensorView cos_sin;                     // f32 [T, rope_dim / 2, 2]
    PagedKvView kv;                         // this layer's pages
    const ops::linear::PackedWeight* next;  // linear::Args::next of the layer
  };

  // out = attention(norm(x)), or out += attention(norm(x)); x, out [T, hidden] of one type; out may
  // be x.
  Status Forward(const ops::OpContext& context, const Step& step, const RmsNormLayer& norm,
                 const TensorView& x, const TensorView& out, bool accumulate) const;

  const ops::linear::PackedWeight& first_weight() const { return *qkv_; }

 private:
  Options options_;
  int32_t num_heads_ = 0;
  int32_t num_kv_heads_ = 0;
  int32_t head_dim_ = 0;
  float soft_cap_ = 0;
  std::shared_ptr<const ops::linear::PackedWeight> qkv_;  // [(Hq + 2 Hkv) D, hidden]
  std::shared_ptr<const ops::linear::PackedWeight> output_;
  RmsNormLayer query_norm_;
  RmsNormLayer key_norm_;
};

}  // namespace quire
