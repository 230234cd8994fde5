#include "attention/paged/paged_cpu.h"

#include "attention/batch_checks.h"
#include "attention/write_layer.h"
#include "kv_cache/kv_layout.h"
#include "ops/flash_attention/flash_attention.h"

namespace quire {

namespace {

constexpr int32_t kMaxHeadDim = 512;

class PagedCpu final : public AttentionBackend {
 public:
  std::string_view name() const override { return kPagedCpuName; }

  Status Plan(const ops::OpContext&, const Batch& batch, const BatchViews& views) override {
    planned_ = false;
    QUIRE_RETURN_IF_ERROR(CheckBatch(batch));
    views_ = views;
    planned_ = true;
    return OkStatus();
  }

  Status Run(const ops::OpContext& context, const LayerAttention& layer) override {
    QUIRE_CHECK(planned_) << "attention ran without a plan that succeeded";
    QUIRE_RETURN_IF_ERROR(WriteLayer(context, layer, views_));
    return views_.num_tokens() == 0 ? OkStatus() : Attend(context, layer);
  }

 private:
  // Rows, lengths and pages come from the batch of this step: what a step before had is never
  // reused.
  Status Attend(const ops::OpContext& context, const LayerAttention& layer) const {
    ops::flash_attention::Args args;
    args.query = layer.query;
    args.query_start = views_.query_start;
    args.cache = layer.cache;
    args.page_table = views_.page_table;
    args.kv_length = views_.kv_length;
    args.out = layer.out;
    args.scale = layer.scale;
    args.window_left = layer.window_left;
    args.logit_soft_cap = layer.logit_soft_cap;
    return ops::flash_attention::Run(context, args);
  }

  BatchViews views_;  // of the step that was planned
  bool planned_ = false;
};

}  // namespace

Status PagedSupports(const AttentionProblem& problem) {
  if (problem.head_dim < 16 || problem.head_dim > kMaxHeadDim || problem.head_dim % 16 != 0) {
    return Unsupported("head size ", problem.head_dim, " is not a multiple of 16 up to ",
                       kMaxHeadDim);
  }
  if (const Status status = ValidatePageSize(problem.page_size); !status.ok()) {
    return Unsupported(status.message());
  }
  const DType dtype = problem.cache_dtype;
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16 &&
      dtype != DType::kF8E4M3) {
    return Unsupported("a cache of ", InfoOf(dtype).name,
                       " is not served; use f32, f16, bf16 or f8e4m3");
  }
  return OkStatus();
}

std::unique_ptr<AttentionBackend> MakePagedCpu() {
  return std::make_unique<PagedCpu>();
}

}  // namespace quire
