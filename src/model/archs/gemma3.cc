// Gemma 3 (Gemma Team, 2025), text: norms before and after attention and feed-forward, normalized
// queries and keys, five sliding-window layers to one global layer, the two kinds with rope bases
// of their own, a scaled embedding and a tied output.
#include <cmath>

#include "model/archs/architectures.h"
#include "model/layers/attention_layer.h"
#include "model/layers/gated_mlp.h"
#include "model/layers/output_head.h"
#include "model/layers/rope_table.h"
#include "model/layers/token_embedding.h"
#include "model/layers/weight_order.h"

namespace quire {

namespace {

constexpr int32_t kGlobalLayerPeriod = 6;  // layers 5, 11, 17 ... see all tokens
constexpr float kWindowedRopeTheta = 10000.0f;
constexpr int32_t kLayersOf27B = 62;  // the one size with another query scale

struct Gemma3Layer {
  bool windowed = false;
  RmsNormLayer attention_norm;
  AttentionLayer attention;
  RmsNormLayer attention_post_norm;
  RmsNormLayer mlp_norm;
  GatedMlp mlp;
  RmsNormLayer mlp_post_norm;
};

class Gemma3Model final : public Model {
 public:
  Gemma3Model(ModelConfig config, std::shared_ptr<const GgufFile> file)
      : Model(std::move(config)), file_(std::move(file)) {}

  Status Load(const ops::OpContext& context, const ModelLoadOptions& options) {
    WeightReader reader(context, *file_, options);
    const ModelConfig& c = config();
    const float embedding_scale = std::sqrt(static_cast<float>(c.hidden_size));
    QUIRE_ASSIGN_OR_RETURN(embedding_, TokenEmbedding::Load(reader, c, embedding_scale));
    for (int32_t i = 0; i < c.num_layers; ++i) {
      QUIRE_ASSIGN_OR_RETURN(Gemma3Layer layer, LoadLayer(reader, i));
      layers_.push_back(std::move(layer));
    }
    QUIRE_ASSIGN_OR_RETURN(head_, OutputHead::Load(reader, c));
    set_work(reader.device_bytes(), reader.row_products());
    QUIRE_ASSIGN_OR_RETURN(
        global_rope_, RopeTable::Create(context, c.rope_dim, c.rope_theta, c.rope_scaling_factor));
    QUIRE_ASSIGN_OR_RETURN(windowed_rope_,
                           RopeTable::Create(context, c.rope_dim, kWindowedRopeTheta, 1.0f));
    return OkStatus();
  }

  Status Forward(const ops::OpContext& context, const BatchViews& batch,
                 AttentionBackend& attention, const KvStorage& kv,
                 const TensorView& logits) const override {
    const Workspace::Scope scope(context.workspace);
    QUIRE_ASSIGN_OR_RETURN(const TensorView hidden, embedding_.Forward(context, batch));
    const TensorView branch = ops::Scratch(context, hidden.dtype(), hidden.shape());
    QUIRE_ASSIGN_OR_RETURN(const TensorView global, global_rope_.ForBatch(context, batch));
    QUIRE_ASSIGN_OR_RETURN(const TensorView windowed, windowed_rope_.ForBatch(context, batch));
    for (int32_t i = 0; i < config().num_layers; ++i) {
      const Gemma3Layer& layer = layers_[static_cast<size_t>(i)];
      const AttentionLayer::Step step = {attention, layer.windowed ? windowed : global, kv.Layer(i),
                                         &layer.mlp.first_weight()};
      QUIRE_RETURN_IF_ERROR(
          layer.attention.Forward(context, step, layer.attention_norm, hidden, branch, false));
      QUIRE_RETURN_IF_ERROR(layer.attention_post_norm.Forward(context, branch, hidden, true));
      QUIRE_RETURN_IF_ERROR(layer.mlp.Forward(context, layer.mlp_norm, hidden, branch, false,
                                              WeightAfter(layers_, i, head_)));
      QUIRE_RETURN_IF_ERROR(layer.mlp_post_norm.Forward(context, branch, hidden, true));
    }
    return head_.Forward(context, batch, hidden, logits);
  }

 private:
  Result<Gemma3Layer> LoadLayer(WeightReader& reader, int32_t index) {
    const ModelConfig& c = config();
    const std::string prefix = StrCat("blk.", index, ".");
    const auto norm = [&](const char* name) {
      return RmsNormLayer::Load(reader, prefix + name, c.hidden_size, c.norm_epsilon);
    };
    const int32_t scaled_dim =
        c.num_layers == kLayersOf27B ? c.hidden_size / c.num_heads : c.head_dim;
    Gemma3Layer layer;
    layer.windowed = c.sliding_window > 0 && (index + 1) % kGlobalLayerPeriod != 0;
    const AttentionLayer::Options options = {
        .rope_style = ops::rope::Style::kNeox,
        .query_key_norm = true,
        .scale = 1.0f / std::sqrt(static_cast<float>(scaled_dim)),
        .window_left = layer.windowed ? c.sliding_window - 1 : -1,
    };
    QUIRE_ASSIGN_OR_RETURN(layer.attention_norm, norm("attn_norm.weight"));
    QUIRE_ASSIGN_OR_RETURN(layer.attention, AttentionLayer::Load(reader, c, prefix, options));
    QUIRE_ASSIGN_OR_RETURN(layer.attention_post_norm, norm("post_attention_norm.weight"));
    QUIRE_ASSIGN_OR_RETURN(layer.mlp_norm, norm("ffn_norm.weight"));
    QUIRE_ASSIGN_OR_RETURN(
        layer.mlp, GatedMlp::Load(reader, c, prefix, ops::act_and_mul::Activation::kGeluTanh));
    QUIRE_ASSIGN_OR_RETURN(layer.mlp_post_norm, norm("post_ffw_norm.weight"));
    return layer;
  }

  std::shared_ptr<const GgufFile> file_;  // the embedding table stays mapped
  TokenEmbedding embedding_;
  std::vector<Gemma3Layer> layers_;
  OutputHead head_;
  RopeTable global_rope_;
  RopeTable windowed_rope_;
};

Result<std::unique_ptr<Model>> LoadGemma3(const ops::OpContext& context, ModelConfig config,
                                          std::shared_ptr<const GgufFile> file,
                                          const ModelLoadOptions& options) {
  auto model = std::make_unique<Gemma3Model>(std::move(config), std::move(file));
  QUIRE_RETURN_IF_ERROR(model->Load(context, options));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace

const Architecture kGemma3Architecture = {"gemma3", &LoadGemma3};

}  // namespace quire
