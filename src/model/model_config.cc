#include "model/model_config.h"

#include <filesystem>

namespace quire {

namespace {

// Reads "<architecture>.<key>" values and checks their range.
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, std::string architecture)
      : file_(file), prefix_(std::move(architecture) + ".") {}

  std::string Key(std::string_view key) const { return StrCat(prefix_, key); }
  bool Has(std::string_view key) const { return file_.Find(Key(key)) != nullptr; }

  Status Int(std::string_view key, int64_t max, int32_t& out) const {
    QUIRE_ASSIGN_OR_RETURN(const int64_t value, file_.GetInt(Key(key)));
    return Store(key, value, max, out);
  }

  Status IntOr(std::string_view key, int64_t fallback, int64_t max, int32_t& out) const {
    QUIRE_ASSIGN_OR_RETURN(const int64_t value, file_.GetIntOr(Key(key), fallback));
    return Store(key, value, max, out);
  }

  Status FloatOr(std::string_view key, double fallback, float& out) const {
    QUIRE_ASSIGN_OR_RETURN(const double value, file_.GetFloatOr(Key(key), fallback));
    if (!(value >= 0 && value < 1e12)) {
      return CorruptData("model: '", Key(key), "' is ", value, ", outside 0 .. 1e12");
    }
    out = static_cast<float>(value);
    return OkStatus();
  }

 private:
  Status Store(std::string_view key, int64_t value, int64_t max, int32_t& out) const {
    if (value < 1 || value > max) {
      return CorruptData("model: '", Key(key), "' is ", value, ", outside 1 .. ", max);
    }
    out = static_cast<int32_t>(value);
    return OkStatus();
  }

  const GgufFile& file_;
  std::string prefix_;
};

Status ReadRope(const GgufFile& file, const ConfigReader& reader, ModelConfig& config) {
  QUIRE_RETURN_IF_ERROR(
      reader.IntOr("rope.dimension_count", config.head_dim, config.head_dim, config.rope_dim));
  if (config.rope_dim % 2 != 0) {
    return CorruptData("model: '", reader.Key("rope.dimension_count"), "' is ", config.rope_dim,
                       ", not even");
  }
  QUIRE_RETURN_IF_ERROR(reader.FloatOr("rope.freq_base", 10000, config.rope_theta));
  if (!reader.Has("rope.scaling.type")) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string_view type,
                         file.GetString(reader.Key("rope.scaling.type")));
  if (type == "linear") {
    QUIRE_RETURN_IF_ERROR(reader.FloatOr("rope.scaling.factor", 1, config.rope_scaling_factor));
    if (config.rope_scaling_factor == 0) {
      return CorruptData("model: '", reader.Key("rope.scaling.factor"), "' is 0");
    }
    return OkStatus();
  }
  if (type != "none") {
    return Unsupported("model: rope scaling '", type,
                       "' is not supported; 'none' and 'linear' are");
  }
  return OkStatus();
}

Status ReadAttention(const ConfigReader& reader, ModelConfig& config) {
  QUIRE_RETURN_IF_ERROR(reader.Int("attention.head_count", 1 << 12, config.num_heads));
  QUIRE_RETURN_IF_ERROR(reader.IntOr("attention.head_count_kv", config.num_heads, config.num_heads,
                                     config.num_kv_heads));
  QUIRE_RETURN_IF_ERROR(reader.IntOr("attention.key_length", config.hidden_size / config.num_heads,
                                     1 << 12, config.head_dim));
  int32_t value_length = 0;
  QUIRE_RETURN_IF_ERROR(
      reader.IntOr("attention.value_length", config.head_dim, 1 << 12, value_length));
  if (value_length != config.head_dim) {
    return Unsupported("model: value heads of ", value_length, " elements beside key heads of ",
                       config.head_dim, " are not supported");
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    return CorruptData("model: ", config.num_heads, " query heads are not a multiple of ",
                       config.num_kv_heads, " key/value heads");
  }
  QUIRE_RETURN_IF_ERROR(reader.FloatOr("attn_logit_softcapping", 0, config.attention_soft_cap));
  return reader.FloatOr("final_logit_softcapping", 0, config.final_logit_soft_cap);
}

}  // namespace

Result<ModelConfig> ReadModelConfig(const GgufFile& file) {
  ModelConfig config;
  QUIRE_ASSIGN_OR_RETURN(const std::string_view architecture,
                         file.GetString("general.architecture"));
  config.architecture = architecture;
  config.name = std::filesystem::path(file.path()).stem().string();

  const ConfigReader reader(file, config.architecture);
  QUIRE_RETURN_IF_ERROR(reader.Int("block_count", 1 << 12, config.num_layers));
  QUIRE_RETURN_IF_ERROR(reader.Int("embedding_length", 1 << 20, config.hidden_size));
  QUIRE_RETURN_IF_ERROR(reader.Int("feed_forward_length", 1 << 22, config.ffn_size));
  QUIRE_RETURN_IF_ERROR(reader.Int("context_length", 1 << 28, config.max_context));
  QUIRE_RETURN_IF_ERROR(
      reader.FloatOr("attention.layer_norm_rms_epsilon", 1e-5, config.norm_epsilon));
  QUIRE_RETURN_IF_ERROR(ReadAttention(reader, config));
  QUIRE_RETURN_IF_ERROR(ReadRope(file, reader, config));
  if (reader.Has("attention.sliding_window")) {
    QUIRE_RETURN_IF_ERROR(reader.Int("attention.sliding_window", 1 << 28, config.sliding_window));
  }
  QUIRE_ASSIGN_OR_RETURN(const int64_t experts, file.GetIntOr(reader.Key("expert_count"), 0));
  if (experts != 0) {
    return Unsupported("model: '", reader.Key("expert_count"), "' is ", experts,
                       "; mixture-of-experts models are not supported yet");
  }
  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->view.rank() != 2) {
    return CorruptData("model: tensor 'token_embd.weight' is missing or not a matrix");
  }
  if (embedding->view.dim(0) > (1 << 24)) {
    return CorruptData("model: ", embedding->view.dim(0), " tokens are more than ", 1 << 24);
  }
  config.vocab_size = static_cast<int32_t>(embedding->view.dim(0));
  return config;
}

}  // namespace quire
