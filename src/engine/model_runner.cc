#include "engine/model_runner.h"

#include <algorithm>

#include "base/log.h"
#include "engine/device_defaults.h"
#include "platform/open_device.h"

namespace quire {

namespace {

Result<int32_t> ContextLimit(const ModelConfig& config, int32_t asked) {
  if (asked < 0 || asked > config.max_context) {
    return InvalidArgument("context of ", asked, " tokens is outside what the model '", config.name,
                           "' was made for; use 1 .. ", config.max_context);
  }
  return asked == 0 ? config.max_context : asked;
}

}  // namespace

Result<std::unique_ptr<ModelRunner>> ModelRunner::Create(std::shared_ptr<const GgufFile> file,
                                                         const EngineOptions& options) {
  std::unique_ptr<ModelRunner> runner(new ModelRunner());
  QUIRE_ASSIGN_OR_RETURN(OpenedDevice opened,
                         OpenDevice(options.device, {.threads = options.threads,
                                                     .pin_threads = options.pin_threads,
                                                     .instruction_set = options.instruction_set,
                                                     .cache_folder = options.cache_folder}));
  LogInfo(StrCat("device ", PlaceName(opened.device->place()), ", ",
                 opened.device->properties().name, opened.reason.empty() ? "" : ": ",
                 opened.reason));
  runner->device_ = std::move(opened.device);
  QUIRE_ASSIGN_OR_RETURN(runner->stream_, runner->device_->CreateStream());
  runner->workspace_ = std::make_shared<Workspace>(*runner->device_);
  QUIRE_RETURN_IF_ERROR(runner->Load(std::move(file), options));
  return runner;
}

Result<std::unique_ptr<ModelRunner>> ModelRunner::CreateBeside(const ModelRunner& other,
                                                               std::shared_ptr<const GgufFile> file,
                                                               const EngineOptions& options) {
  std::unique_ptr<ModelRunner> runner(new ModelRunner());
  runner->device_ = other.device_;
  runner->stream_ = other.stream_;
  runner->workspace_ = other.workspace_;
  QUIRE_RETURN_IF_ERROR(runner->Load(std::move(file), options));
  return runner;
}

Status ModelRunner::Load(std::shared_ptr<const GgufFile> file, const EngineOptions& options) {
  inputs_ = std::make_unique<StepInputs>(*stream_);
  options_ = ResolveOptions(*device_, options);
  QUIRE_ASSIGN_OR_RETURN(model_,
                         LoadModel(context(), std::move(file), LoadOptionsFor(*device_, options_)));
  QUIRE_ASSIGN_OR_RETURN(max_context_, ContextLimit(config(), options.max_context));
  QUIRE_ASSIGN_OR_RETURN(
      drawn_, Tensor::Create(*device_, DType::kI32, {int64_t{options_.step_token_budget}}));
  return CreateKv();
}

KvLayout KvLayoutOf(const ModelConfig& config, const EngineOptions& options) {
  const DType dtype = options.kv_dtype.value();
  return {.num_layers = config.num_layers,
          .num_kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .dtype = dtype,
          .page_size = options.page_size,
          .scaling = dtype == DType::kF8E4M3 ? KvScaling::kPerTokenHead : KvScaling::kNone};
}

Status ModelRunner::CreateKv() {
  const KvLayout layout = KvLayoutOf(config(), options_);
  QUIRE_RETURN_IF_ERROR(layout.Validate());
  std::string reason;
  QUIRE_ASSIGN_OR_RETURN(
      attention_,
      ChooseAttentionBackend(options_.attention_backend,
                             {.device = device_.get(),
                              .q_heads = config().num_heads,
                              .kv_heads = layout.num_kv_heads,
                              .head_dim = layout.head_dim,
                              .page_size = layout.page_size,
                              .query_dtype = LoadOptionsFor(*device_, options_).activation_type,
                              .cache_dtype = layout.dtype,
                              .batch_invariant = options_.deterministic},
                             reason));
  int64_t bytes = options_.kv_memory_bytes;
  if (bytes == 0) {
    QUIRE_ASSIGN_OR_RETURN(const size_t available, device_->AvailableMemory());
    bytes = DefaultKvBytes(*device_, available);
  }
  const int64_t pages = PagesThatFit(layout, bytes);
  if (pages < 1) {
    return ResourceExhausted("kv memory of ", bytes, " bytes is less than one page of ",
                             layout.page_size, " tokens, which takes ", layout.BytesPerPage(),
                             " bytes; give more with --kv-memory or use a smaller --page-size");
  }
  const int64_t most_pages = int64_t{1} << 24;
  QUIRE_ASSIGN_OR_RETURN(
      KvStorage kv,
      KvStorage::Create(*device_, layout, static_cast<int32_t>(std::min(pages, most_pages))));
  kv_.emplace(std::move(kv));
  LogInfo(StrCat("attention backend ", attention_->name(), ": ", reason));
  if (options_.deterministic) {
    LogInfo(StrCat("deterministic: the same bits in any batch, ",
                   device_->place().IsHost() ? "as always on a cpu"
                                             : "by operators that keep one order of sums"));
  }
  LogInfo(StrCat("kv cache: ", kv_->num_pages(), " pages of ", layout.page_size, " tokens, ",
                 InfoOf(layout.dtype).name, ", ", layout.BytesPerToken(), " bytes per token, ",
                 kv_->bytes() >> 20, " MiB"));
  return OkStatus();
}

Status ModelRunner::ReserveLogits(int64_t rows) {
  if (logits_.view().defined() && logits_.view().dim(0) >= rows) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(
      logits_, Tensor::Create(*device_, DType::kF32, {rows, int64_t{config().vocab_size}}));
  return OkStatus();
}

Status ModelRunner::CopyPages(std::span<const PageCopy> copies) {
  return StatusOfWork([&] { return quire::CopyPages(context(), *kv_, *kv_, copies); });
}

Result<std::span<const float>> ModelRunner::HostLogits(const TensorView& logits) {
  const auto count = static_cast<size_t>(logits.shape().elements());
  const size_t bytes = count * sizeof(float);
  if (logits.place().IsHost()) {
    QUIRE_RETURN_IF_ERROR(Wait());
    return std::span<const float>(logits.as<float>(), count);
  }
  if (host_logits_.bytes() < bytes) {
    QUIRE_ASSIGN_OR_RETURN(host_logits_, device_->AllocatePinned(bytes));
  }
  QUIRE_RETURN_IF_ERROR(
      stream_->Copy(host_logits_.data(), Place::Host(), logits.data(), logits.place(), bytes));
  QUIRE_RETURN_IF_ERROR(Wait());
  return std::span<const float>(static_cast<const float*>(host_logits_.data()), count);
}

Status ModelRunner::Enqueue(const BatchViews& views, const TensorView& logits) {
  const auto forward = [&] {
    return StatusOfWork(
        [&] { return model_->Forward(context(), views, *attention_, *kv_, logits); });
  };
  const uint64_t attention = attention_->LaunchKey();
  const int64_t sequences = views.kv_length.dim(0);
  if (!device_->is_asynchronous() || attention == 0 || views.num_tokens() != sequences) {
    return forward();
  }
  return graphs_.Run({.tokens = views.num_tokens(),
                      .sequences = sequences,
                      .logit_rows = views.logit_rows.dim(0),
                      .max_pages = views.page_table.dim(1),
                      .attention = attention,
                      .inputs = views.tokens.data(),
                      .logits = logits.data()},
                     *stream_, forward);
}

Result<TensorView> ModelRunner::Run(const Batch& batch) {
  const auto rows = static_cast<int64_t>(batch.logit_rows.size());
  QUIRE_RETURN_IF_ERROR(ReserveLogits(std::max<int64_t>(rows, 1)));
  const TensorView logits = logits_.view().Rows(0, rows);
  QUIRE_ASSIGN_OR_RETURN(BatchViews views, inputs_->Bring(batch));
  views.drawn = drawn_.view();
  QUIRE_RETURN_IF_ERROR(attention_->Plan(context(), batch, views));
  QUIRE_RETURN_IF_ERROR(Enqueue(views, logits));
  return logits;
}

}  // namespace quire
