// Model: the forward pass of one loaded network over a Batch.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "attention/attention_backend.h"
#include "kv_cache/kv_storage.h"
#include "model/model_config.h"
#include "ops/batch_views.h"
#include "ops/linear/linear.h"

namespace quire {

struct ModelLoadOptions {
  // How matrix products take their activations. kFp32 also expands quantized weights: the exact
  // path.
  ops::linear::ActivationMode activations = ops::linear::ActivationMode::kBlock8;
  // Of everything between the layers: f32, f16 or bf16.
  DType activation_type = DType::kF32;
  // Called with the share of the weights loaded so far, 0 .. 1.
  std::function<void(double)> on_progress = [](double) {};
};

// Immutable after loading: engines and threads may share one. A step's memory comes from its
// context.
class Model {
 public:
  virtual ~Model() = default;

  const ModelConfig& config() const { return config_; }
  // Bytes on the device that a step with a few rows reads once: all weights but the embedding.
  size_t weight_bytes() const { return weight_bytes_; }
  // Multiply-adds of one row through all linear layers, the output head included: their elements.
  int64_t row_products() const { return row_products_; }

  // Computes logits [R, V] f32 of batch.logit_rows, and writes the batch's keys and values into
  // `kv` through `attention`, on which Plan() has been called for this batch. A row's logits
  // depend, bit for bit, on the tokens of its sequence up to it alone.
  virtual Status Forward(const ops::OpContext& context, const BatchViews& batch,
                         AttentionBackend& attention, const KvStorage& kv,
                         const TensorView& logits) const = 0;

 protected:
  explicit Model(ModelConfig config) : config_(std::move(config)) {}
  void set_work(size_t weight_bytes, int64_t row_products) {
    weight_bytes_ = weight_bytes;
    row_products_ = row_products;
  }

 private:
  ModelConfig config_;
  size_t weight_bytes_ = 0;
  int64_t row_products_ = 0;
};

// Loads the network of `file` onto the context's device; the file stays mapped as long as the model
// lives. Errors: unsupported (architecture, naming those that are known), corrupt_data, not_found
// (a tensor is missing), resource_exhausted.
Result<std::unique_ptr<Model>> LoadModel(const ops::OpContext& context,
                                         std::shared_ptr<const GgufFile> file,
                                         const ModelLoadOptions& options);

// One supported network; each file of archs/ defines one.
struct Architecture {
  std::string_view name;  // general.architecture of its files
  Result<std::unique_ptr<Model>> (*load)(const ops::OpContext& context, ModelConfig config,
                                         std::shared_ptr<const GgufFile> file,
                                         const ModelLoadOptions& options);
};

}  // namespace quire
