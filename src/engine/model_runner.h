// ModelRunner: a model with its device, stream, scratch memory, KV storage and attention backend;
// runs steps.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "attention/attention_backend.h"
#include "engine/engine_options.h"
#include "engine/step_graphs.h"
#include "engine/step_inputs.h"
#include "kv_cache/kv_storage.h"
#include "model/model.h"
#include "ops/implementation.h"

namespace quire {

// The layout of the pages that a model is served from. REQUIRES: options.kv_dtype is set.
KvLayout KvLayoutOf(const ModelConfig& config, const EngineOptions& options);

// One thread at a time.
class ModelRunner {
 public:
  // Loads the model of `file` and takes the KV memory. Errors: those of the model loader;
  // unsupported or invalid_argument (an option's value, naming it); resource_exhausted (KV memory
  // that does not fit, or that holds less than one page, saying how much would).
  static Result<std::unique_ptr<ModelRunner>> Create(std::shared_ptr<const GgufFile> file,
                                                     const EngineOptions& options);
  // The same on the device and stream of `other`, which is not to run at the same time.
  static Result<std::unique_ptr<ModelRunner>> CreateBeside(const ModelRunner& other,
                                                           std::shared_ptr<const GgufFile> file,
                                                           const EngineOptions& options);

  const ModelConfig& config() const { return model_->config(); }
  int32_t max_context() const { return max_context_; }
  Device& device() const { return *device_; }
  // Those given to Create, resolved for the device.
  const EngineOptions& options() const { return options_; }
  const KvStorage& kv() const { return *kv_; }
  size_t weight_bytes() const { return model_->weight_bytes(); }
  int64_t row_products() const { return model_->row_products(); }
  // What every operator call gets.
  ops::OpContext context() {
    return {*stream_, *workspace_, options_.implementation, options_.deterministic};
  }

  // KvStorage::PopulateSome().
  bool PopulateSome() { return kv_->PopulateSome(*device_); }

  // Copies whole pages within the KV storage. Errors: those of quire::CopyPages.
  Status CopyPages(std::span<const PageCopy> copies);

  // Runs one step, or enqueues it where the device is asynchronous: writes the batch's keys and
  // values, returns logits [R, V] f32 of batch.logit_rows on the device. They stay valid until the
  // next call. DrawnToken(i) in the batch is element i of drawn(). Errors: those of the operators
  // and of the attention backend; resource_exhausted (no memory for the scratch of such a step).
  // REQUIRES: `batch` lives until the step has run, and all but the last of the steps before have
  // run.
  Result<TensorView> Run(const Batch& batch);

  // i32 [step_token_budget] on the device, where the tokens that a step draws are left for the next
  // one.
  TensorView drawn() const { return drawn_.view(); }

  // Steps that the device knows as a whole, so that Run() replays them.
  int64_t recorded_steps() const { return graphs_.recorded(); }

  // Waits for what Run() enqueued; the first error of it, if any.
  Status Wait() { return stream_->Synchronize(); }

  // `logits` where the host reads them, once they are computed; valid until the next call of this
  // or Run(). Errors: those of Wait(); resource_exhausted.
  Result<std::span<const float>> HostLogits(const TensorView& logits);

 private:
  ModelRunner() = default;
  Status Load(std::shared_ptr<const GgufFile> file, const EngineOptions& options);
  Status CreateKv();
  Status ReserveLogits(int64_t rows);
  Status Enqueue(const BatchViews& views, const TensorView& logits);

  EngineOptions options_;  // resolved
  int32_t max_context_ = 0;
  std::shared_ptr<Device> device_;
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<Workspace> workspace_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<AttentionBackend> attention_;
  std::optional<KvStorage> kv_;
  std::unique_ptr<StepInputs> inputs_;
  StepGraphs graphs_;
  Tensor logits_;       // [rows reserved, V]
  Tensor drawn_;        // i32, see drawn()
  Buffer host_logits_;  // pinned; as large as the largest that was asked for
};

}  // namespace quire
