// FlashInfer's "fa2" kernels: bf16, heads of 128.
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/mask.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/scheduler.cuh>
#include <flashinfer/attention/variants.cuh>

#include "ops/attention/flashinfer/cuda_flashinfer.h"
#include "ops/attention/flashinfer/cuda_flashinfer_call.h"

namespace quire::ops::attention::cuda {

namespace {

namespace fi = flashinfer;

constexpr int kDim = 128;

using Element = __nv_bfloat16;
using Params = fi::BatchPrefillPagedParams<Element, Element, Element, int32_t>;
using Variant = fi::DefaultAttention<false, false, false, false>;

Params ParamsOf(const Problem& problem, const FlashInferPages& pages) {
  const bool hnd = problem.key.strides.head != problem.key_dim;
  auto* const key = static_cast<Element*>(const_cast<void*>(problem.key.data));
  auto* const value = static_cast<Element*>(const_cast<void*>(problem.value.data));
  const fi::paged_kv_t<Element, int32_t> cache(
      static_cast<uint32_t>(problem.kv_heads), static_cast<uint32_t>(problem.page_size), kDim,
      static_cast<uint32_t>(problem.num_sequences), hnd ? fi::QKVLayout::kHND : fi::QKVLayout::kNHD,
      key, value, Mutable(pages.pages), Mutable(pages.page_start), Mutable(pages.last_page_length));
  return Params(
      static_cast<Element*>(problem.query.data), cache, nullptr, Mutable(problem.query_start),
      nullptr, nullptr, static_cast<Element*>(problem.out.data), problem.lse, nullptr,
      static_cast<uint32_t>(problem.q_heads), static_cast<int32_t>(problem.query.row_stride),
      static_cast<int32_t>(problem.query.head_stride), -1, 0.0f, problem.scale, 1.0f, 1e4f);
}

template <uint32_t kTile, fi::MaskMode kMask>
cudaError_t Launch(const Params& params, Element* partials, float* sums, cudaStream_t stream) {
  return fi::BatchPrefillWithPagedKVCacheDispatched<
      true, kTile, kDim, kDim, fi::PosEncodingMode::kNone, false, kMask, Variant>(
      params, partials, sums, false, stream);
}

}  // namespace

Status PlanFa2(const FlashInferStep& step, const FlashInferMemory& memory, cudaStream_t stream,
               FlashInferPlan& plan) {
  fi::PrefillPlanInfo info;
  const Status status = CallFlashInfer("flashinfer_fa2 plan", [&] {
    return fi::PrefillPlan<int32_t>(
        memory.partials, memory.partial_bytes, memory.indices, memory.host_indices,
        memory.index_bytes, info, Mutable(step.query_start), Mutable(step.page_start),
        static_cast<uint32_t>(step.rows), static_cast<uint32_t>(step.sequences),
        static_cast<uint32_t>(step.q_heads), static_cast<uint32_t>(step.kv_heads), kDim, kDim,
        static_cast<uint32_t>(step.page_size), false, sizeof(Element), -1, -1, false, 0, 0, stream);
  });
  plan = info.ToVector();
  return status;
}

Status RunFa2(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
              const FlashInferMemory& memory, cudaStream_t stream) {
  fi::PrefillPlanInfo info;
  info.FromVector(plan);
  Params params = ParamsOf(problem, pages);
  const auto index = [&](int64_t offset) {
    return fi::GetPtrFromBaseOffset<int32_t>(memory.indices, offset);
  };
  params.request_indices = index(info.request_indices_offset);
  params.qo_tile_indices = index(info.qo_tile_indices_offset);
  params.kv_tile_indices = index(info.kv_tile_indices_offset);
  params.o_indptr = index(info.o_indptr_offset);
  params.kv_chunk_size_ptr = index(info.kv_chunk_size_ptr_offset);
  params.padded_batch_size = static_cast<uint32_t>(info.padded_batch_size);
  params.max_total_num_rows = static_cast<uint32_t>(info.total_num_rows);
  Element* partials = nullptr;
  float* sums = nullptr;
  if (info.split_kv) {
    params.merge_indptr = index(info.merge_indptr_offset);
    partials = fi::GetPtrFromBaseOffset<Element>(memory.partials, info.v_offset);
    sums = fi::GetPtrFromBaseOffset<float>(memory.partials, info.s_offset);
  }
  return CallFlashInfer("flashinfer_fa2", [&] {
    switch (info.cta_tile_q) {
      case 16:
        return problem.num_rows == problem.num_sequences
                   ? Launch<16, fi::MaskMode::kNone>(params, partials, sums, stream)
                   : Launch<16, fi::MaskMode::kCausal>(params, partials, sums, stream);
      case 64: return Launch<64, fi::MaskMode::kCausal>(params, partials, sums, stream);
      default: return Launch<128, fi::MaskMode::kCausal>(params, partials, sums, stream);
    }
  });
}

}  // namespace quire::ops::attention::cuda
