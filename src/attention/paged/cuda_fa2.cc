#include "attention/paged/cuda_fa2.h"

#include <algorithm>
#include <cstring>

#include "attention/batch_checks.h"
#include "attention/paged/cuda_layer.h"
#include "attention/paged/cuda_paged.h"
#include "attention/paged/cuda_step_memory.h"
#include "attention/paged/paged_cpu.h"
#include "attention/write_layer.h"
#include "ops/attention/flashinfer/cuda_flashinfer.h"
#include "platform/cuda/cuda_device.h"

namespace quire {

namespace {

using ops::attention::cuda::FlashInferMemory;
using ops::attention::cuda::FlashInferPages;
using ops::attention::cuda::FlashInferPlan;

constexpr int32_t kHeadDim = 128;

// The pages of the sequences one after another.
struct PageLists {
  std::vector<int32_t> pages;
  std::vector<int32_t> page_start = {0};
  std::vector<int32_t> last_page_length;
};

PageLists PageListsOf(const Batch& batch, int32_t page_size) {
  PageLists lists;
  for (int32_t b = 0; b < batch.num_sequences(); ++b) {
    const int32_t length = batch.kv_length[static_cast<size_t>(b)];
    const int32_t count = (length + page_size - 1) / page_size;
    const auto row = batch.page_table.begin() + int64_t{b} * batch.max_pages;
    lists.pages.insert(lists.pages.end(), row, row + count);
    lists.page_start.push_back(static_cast<int32_t>(lists.pages.size()));
    lists.last_page_length.push_back(length - std::max(count - 1, 0) * page_size);
  }
  return lists;
}

class CudaFa2 final : public AttentionBackend {
 public:
  explicit CudaFa2(const AttentionProblem& problem) : problem_(problem) {}

  std::string_view name() const override { return kFlashInferFa2Name; }

  Status Plan(const ops::OpContext& context, const Batch& batch, const BatchViews& views) override {
    planned_ = false;
    QUIRE_RETURN_IF_ERROR(CheckBatch(batch));
    views_ = views;
    if (batch.num_tokens() > 0) {
      const PageLists lists = PageListsOf(batch, problem_.page_size);
      QUIRE_RETURN_IF_ERROR(BringPages(context, lists));
      QUIRE_RETURN_IF_ERROR(PlanKernels(context, batch, lists));
    }
    planned_ = true;
    return OkStatus();
  }

  Status Run(const ops::OpContext& context, const LayerAttention& layer) override {
    QUIRE_CHECK(planned_) << "attention ran without a plan that succeeded";
    if (layer.window_left >= 0 || layer.logit_soft_cap > 0.0f) {
      return Unsupported("attention backend '", kFlashInferFa2Name,
                         "' has no windows and no soft caps; use paged_cuda");
    }
    QUIRE_RETURN_IF_ERROR(WriteLayer(context, layer, views_));
    if (views_.num_tokens() == 0) {
      return OkStatus();
    }
    return ops::attention::cuda::RunFa2(ProblemOf(layer, views_), pages_, plan_, memory_,
                                        AsCudaStream(context.stream).handle());
  }

 private:
  Status BringPages(const ops::OpContext& context, const PageLists& lists) {
    size_t bytes = 0;
    const auto add = [&](const std::vector<int32_t>& list) {
      const size_t at = bytes;
      bytes += list.size() * sizeof(int32_t);
      return at;
    };
    const size_t pages_at = add(lists.pages);
    const size_t start_at = add(lists.page_start);
    const size_t last_at = add(lists.last_page_length);
    QUIRE_ASSIGN_OR_RETURN(std::byte* const host, page_memory_.Begin(context.stream, bytes));
    const auto copy = [&](size_t at, const std::vector<int32_t>& list) {
      std::memcpy(host + at, list.data(), list.size() * sizeof(int32_t));
      return reinterpret_cast<const int32_t*>(page_memory_.device() + at);
    };
    pages_ = {.pages = copy(pages_at, lists.pages),
              .page_start = copy(start_at, lists.page_start),
              .last_page_length = copy(last_at, lists.last_page_length)};
    return page_memory_.Send(context.stream, bytes);
  }

  Status PlanKernels(const ops::OpContext& context, const Batch& batch, const PageLists& lists) {
    const auto group = static_cast<size_t>(problem_.q_heads / problem_.kv_heads);
    const auto tokens = static_cast<size_t>(batch.num_tokens());
    const auto sequences = static_cast<size_t>(batch.num_sequences());
    // Its plan has up to four numbers for each tile, row and sequence; its partial results are of
    // at most two blocks of a multiprocessor, of 128 rows each.
    const size_t index_bytes = 16 * (tokens * group + sequences + 4096);
    const auto blocks = static_cast<size_t>(2 * problem_.device->properties().compute_units);
    QUIRE_RETURN_IF_ERROR(Reserve(context.stream.device(),
                                  (blocks + 1) * 128 * (kHeadDim + 1) * sizeof(float) + 4096,
                                  partials_));
    QUIRE_ASSIGN_OR_RETURN(std::byte* const host, plan_memory_.Begin(context.stream, index_bytes));
    memory_ = {.partials = partials_.data(),
               .partial_bytes = partials_.bytes(),
               .indices = plan_memory_.device(),
               .host_indices = host,
               .index_bytes = index_bytes};
    QUIRE_RETURN_IF_ERROR(
        ops::attention::cuda::PlanFa2({.query_start = batch.query_start.data(),
                                       .page_start = lists.page_start.data(),
                                       .kv_length = batch.kv_length.data(),
                                       .sequences = batch.num_sequences(),
                                       .rows = batch.num_tokens(),
                                       .q_heads = problem_.q_heads,
                                       .kv_heads = problem_.kv_heads,
                                       .head_dim = problem_.head_dim,
                                       .page_size = problem_.page_size},
                                      memory_, AsCudaStream(context.stream).handle(), plan_));
    return plan_memory_.Sent(context.stream);
  }

  AttentionProblem problem_;
  CudaStepMemory page_memory_;
  CudaStepMemory plan_memory_;
  Buffer partials_;
  // Of the step that was planned:
  bool planned_ = false;
  BatchViews views_;
  FlashInferPages pages_;
  FlashInferMemory memory_;
  FlashInferPlan plan_;
};

}  // namespace

Result<std::string> FlashInferFa2Supports(const AttentionProblem& problem) {
  QUIRE_RETURN_IF_ERROR(PagedSupports(problem));
  QUIRE_RETURN_IF_ERROR(CheckBitsMayDiffer(problem));
  if (problem.head_dim != kHeadDim) {
    return Unsupported("head size ", problem.head_dim, " is not ", kHeadDim);
  }
  if (problem.cache_dtype != DType::kBF16 || problem.query_dtype != DType::kBF16) {
    return Unsupported("activations of ", InfoOf(problem.query_dtype).name, " and a cache of ",
                       InfoOf(problem.cache_dtype).name, " are not both bf16");
  }
  return std::string("flashinfer_fa2 for all rows");
}

std::unique_ptr<AttentionBackend> MakeCudaFa2(const AttentionProblem& problem) {
  return std::make_unique<CudaFa2>(problem);
}

}  // namespace quire
