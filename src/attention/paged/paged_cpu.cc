#include "attention/paged/paged_cpu.h"

#include <algorithm>
#include <functional>

#include "kv_cache/kv_layout.h"
#include "ops/flash_attention/flash_attention.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"

namespace quire {

namespace {

constexpr int32_t kMaxHeadDim = 512;

Status CheckSizes(const Batch& batch) {
  const size_t tokens = batch.tokens.size();
  const size_t sequences = batch.kv_length.size();
  if (batch.positions.size() != tokens || batch.slot_mapping.size() != tokens) {
    return InvalidArgument("batch of ", tokens, " tokens has ", batch.positions.size(),
                           " positions and ", batch.slot_mapping.size(), " slots");
  }
  if (batch.query_start.size() != sequences + 1) {
    return InvalidArgument("batch of ", sequences, " sequences has ", batch.query_start.size(),
                           " row starts, not one more than sequences");
  }
  if (batch.max_pages < 0 ||
      batch.page_table.size() != sequences * static_cast<size_t>(batch.max_pages)) {
    return InvalidArgument("batch of ", sequences, " sequences of up to ", batch.max_pages,
                           " pages has a page table of ", batch.page_table.size(), " entries");
  }
  return OkStatus();
}

Status CheckRowStarts(const Batch& batch) {
  if (batch.query_start.front() != 0 || batch.query_start.back() != batch.num_tokens()) {
    return InvalidArgument("row starts of the batch run from ", batch.query_start.front(), " to ",
                           batch.query_start.back(), ", not from 0 to ", batch.num_tokens());
  }
  const auto descent = std::ranges::adjacent_find(batch.query_start, std::greater());
  if (descent != batch.query_start.end()) {
    return InvalidArgument("row starts of the batch descend from ", *descent, " to ",
                           *(descent + 1), " at sequence ", descent - batch.query_start.begin());
  }
  return OkStatus();
}

// The operator derives positions from lengths: both must say the same.
Status CheckSequence(const Batch& batch, size_t b) {
  const int32_t begin = batch.query_start[b];
  const int32_t end = batch.query_start[b + 1];
  if (end - begin > batch.kv_length[b]) {
    return InvalidArgument("sequence ", b, " of the batch has ", end - begin, " rows but ",
                           batch.kv_length[b], " tokens");
  }
  for (int32_t row = begin; row < end; ++row) {
    const int32_t position = batch.kv_length[b] - (end - row);
    if (batch.positions[static_cast<size_t>(row)] != position) {
      return InvalidArgument("row ", row, " of the batch has position ",
                             batch.positions[static_cast<size_t>(row)], "; the length of sequence ",
                             b, " makes it ", position);
    }
  }
  return OkStatus();
}

class PagedCpu final : public AttentionBackend {
 public:
  std::string_view name() const override { return kPagedCpuName; }

  Status Plan(const ops::OpContext&, const Batch& batch, const BatchViews& views) override {
    planned_ = false;
    QUIRE_RETURN_IF_ERROR(CheckSizes(batch));
    QUIRE_RETURN_IF_ERROR(CheckRowStarts(batch));
    for (size_t b = 0; b < batch.kv_length.size(); ++b) {
      QUIRE_RETURN_IF_ERROR(CheckSequence(batch, b));
    }
    views_ = views;
    planned_ = true;
    return OkStatus();
  }

  Status Run(const ops::OpContext& context, const LayerAttention& layer) override {
    QUIRE_CHECK(planned_) << "attention ran without a plan that succeeded";
    if (layer.query.rank() != 3 || layer.query.dim(0) != views_.num_tokens()) {
      return InvalidArgument("attention over a batch of ", views_.num_tokens(),
                             " tokens has the query ", Describe(layer.query));
    }
    if (views_.num_tokens() == 0) {
      return OkStatus();
    }
    QUIRE_RETURN_IF_ERROR(Write(context, layer));
    return Attend(context, layer);
  }

 private:
  Status Write(const ops::OpContext& context, const LayerAttention& layer) const {
    ops::reshape_and_cache::Args args;
    args.key = layer.key;
    args.value = layer.value;
    args.slot_mapping = views_.slot_mapping;
    args.cache = layer.cache;
    return ops::reshape_and_cache::Run(context, args);
  }

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

Status PagedCpuSupports(int32_t head_dim, int32_t page_size, DType dtype) {
  if (head_dim < 16 || head_dim > kMaxHeadDim || head_dim % 16 != 0) {
    return Unsupported("head size ", head_dim, " is not a multiple of 16 up to ", kMaxHeadDim);
  }
  if (const Status status = ValidatePageSize(page_size); !status.ok()) {
    return Unsupported(status.message());
  }
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
