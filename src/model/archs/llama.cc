// The Llama graph (Touvron et al., 2023): pre-norm attention and gated SiLU feed-forward. GGUF
// files of this architecture store q and k rows for interleaved rope. SmolLM2 is one of them.
#include <cmath>

#include "model/archs/architectures.h"
#include "model/layers/attention_layer.h"
#include "model/layers/gated_mlp.h"
#include "model/layers/output_head.h"
#include "model/layers/rope_table.h"
#include "model/layers/token_embedding.h"
#include "model/layers/weight_order.h"
#include "tensor/block_formats.h"

namespace quire {

namespace {

struct LlamaLayer {
  RmsNormLayer attention_norm;
  AttentionLayer attention;
  RmsNormLayer mlp_norm;
  GatedMlp mlp;
};

class LlamaModel final : public Model {
 public:
  LlamaModel(ModelConfig config, std::shared_ptr<const GgufFile> file)
      : Model(std::move(config)), file_(std::move(file)) {}

  Status Load(const ops::OpContext& context, const ModelLoadOptions& options) {
    WeightReader reader(context, *file_, options);
    QUIRE_ASSIGN_OR_RETURN(embedding_, TokenEmbedding::Load(reader, config(), 1.0f));
    for (int32_t i = 0; i < config().num_layers; ++i) {
      QUIRE_ASSIGN_OR_RETURN(LlamaLayer layer, LoadLayer(reader, StrCat("blk.", i, ".")));
      layers_.push_back(std::move(layer));
    }
    QUIRE_ASSIGN_OR_RETURN(head_, OutputHead::Load(reader, config()));
    set_work(reader.device_bytes(), reader.row_products());
    return LoadRope(reader);
  }

  Status Forward(const ops::OpContext& context, const BatchViews& batch,
                 AttentionBackend& attention, const KvStorage& kv,
                 const TensorView& logits) const override {
    const Workspace::Scope scope(context.workspace);
    QUIRE_ASSIGN_OR_RETURN(const TensorView hidden, embedding_.Forward(context, batch));
    QUIRE_ASSIGN_OR_RETURN(const TensorView cos_sin, rope_.ForBatch(context, batch));
    for (int32_t i = 0; i < config().num_layers; ++i) {
      const LlamaLayer& layer = layers_[static_cast<size_t>(i)];
      const AttentionLayer::Step step = {attention, cos_sin, kv.Layer(i),
                                         &layer.mlp.first_weight()};
      QUIRE_RETURN_IF_ERROR(
          layer.attention.Forward(context, step, layer.attention_norm, hidden, hidden, true));
      QUIRE_RETURN_IF_ERROR(layer.mlp.Forward(context, layer.mlp_norm, hidden, hidden, true,
                                              WeightAfter(layers_, i, head_)));
    }
    return head_.Forward(context, batch, hidden, logits);
  }

 private:
  Result<LlamaLayer> LoadLayer(WeightReader& reader, const std::string& prefix) {
    const ModelConfig& c = config();
    const AttentionLayer::Options options = {
        .rope_style = ops::rope::Style::kInterleaved,
        .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
    };
    LlamaLayer layer;
    QUIRE_ASSIGN_OR_RETURN(
        layer.attention_norm,
        RmsNormLayer::Load(reader, prefix + "attn_norm.weight", c.hidden_size, c.norm_epsilon));
    QUIRE_ASSIGN_OR_RETURN(layer.attention, AttentionLayer::Load(reader, c, prefix, options));
    QUIRE_ASSIGN_OR_RETURN(layer.mlp_norm, RmsNormLayer::Load(reader, prefix + "ffn_norm.weight",
                                                              c.hidden_size, c.norm_epsilon));
    QUIRE_ASSIGN_OR_RETURN(layer.mlp,
                           GatedMlp::Load(reader, c, prefix, ops::act_and_mul::Activation::kSilu));
    return layer;
  }

  Status LoadRope(WeightReader& reader) {
    const ModelConfig& c = config();
    std::vector<float> factors;
    if (reader.Has("rope_freqs.weight")) {
      QUIRE_ASSIGN_OR_RETURN(const TensorView view,
                             reader.Mapped("rope_freqs.weight", {int64_t{c.rope_dim / 2}}));
      factors.resize(static_cast<size_t>(c.rope_dim / 2));
      DequantizeRow(view.dtype(), view.data(), c.rope_dim / 2, factors.data());
    }
    QUIRE_ASSIGN_OR_RETURN(rope_, RopeTable::Create(reader.context(), c.rope_dim, c.rope_theta,
                                                    c.rope_scaling_factor, factors));
    return OkStatus();
  }

  std::shared_ptr<const GgufFile> file_;  // the embedding table stays mapped
  TokenEmbedding embedding_;
  std::vector<LlamaLayer> layers_;
  OutputHead head_;
  RopeTable rope_;
};

Result<std::unique_ptr<Model>> LoadLlama(const ops::OpContext& context, ModelConfig config,
                                         std::shared_ptr<const GgufFile> file,
                                         const ModelLoadOptions& options) {
  auto model = std::make_unique<LlamaModel>(std::move(config), std::move(file));
  QUIRE_RETURN_IF_ERROR(model->Load(context, options));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace

const Architecture kLlamaArchitecture = {"llama", &LoadLlama};

}  // namespace quire
