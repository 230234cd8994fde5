// FlashInfer's "fa3" kernels: bf16, causal, heads of 128.
#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>
#include <flashinfer/attention/mask.cuh>
#include <flashinfer/attention/scheduler.cuh>

#include "ops/attention/cuda_flashinfer.h"
#include "ops/attention/cuda_flashinfer_call.h"

namespace quire::ops::attention::cuda {

namespace {

namespace fi = flashinfer;

constexpr int kDim = 128;

using Element = cutlass::bfloat16_t;
using Params = fi::BatchPrefillPagedParams<Element, Element, Element, int32_t>;

// FlashInfer's parameters have no const.
template <typename T>
T* Mutable(const T* data) {
  return const_cast<T*>(data);
}

Params ParamsOf(const Problem& problem) {
  Params params = {};
  params.q_ptr = static_cast<Element*>(problem.query.data);
  params.k_ptr = static_cast<Element*>(const_cast<void*>(problem.key.data));
  params.v_ptr = static_cast<Element*>(const_cast<void*>(problem.value.data));
  params.o_ptr = static_cast<Element*>(problem.out.data);
  params.lse_ptr = problem.lse;
  params.q_stride_n = problem.query.row_stride;
  params.q_stride_h = problem.query.head_stride;
  params.o_stride_n = problem.out.row_stride;
  params.o_stride_h = problem.out.head_stride;
  params.k_stride_n = params.v_stride_n = problem.key.strides.token;
  params.k_stride_h = params.v_stride_h = problem.key.strides.head;
  params.k_page_stride = params.v_page_stride = problem.key.strides.page;
  params.nnz_qo = problem.num_rows;
  params.num_qo_heads = problem.q_heads;
  params.num_kv_heads = problem.kv_heads;
  params.group_size = problem.group();
  params.page_size = problem.page_size;
  params.window_left = -1;
  params.causal = true;
  params.additional_params.sm_scale = problem.scale;
  params.additional_params.logits_soft_cap = 0.0f;
  return params;
}

}  // namespace

Status PlanFa3(const FlashInferStep& step, const FlashInferMemory& memory, cudaStream_t stream,
               FlashInferPlan& plan) {
  fi::PrefillPlanSM90Info info;
  const Status status = CallFlashInfer("flashinfer_fa3 plan", [&] {
    return fi::PrefillSM90Plan<int32_t>(
        memory.partials, memory.partial_bytes, memory.indices, memory.host_indices,
        memory.index_bytes, info, Mutable(step.query_start), Mutable(step.page_start),
        Mutable(step.kv_length), static_cast<uint32_t>(step.rows),
        static_cast<uint32_t>(step.sequences), static_cast<uint32_t>(step.q_heads),
        static_cast<uint32_t>(step.kv_heads), kDim, kDim, static_cast<uint32_t>(step.page_size),
        true, false, sizeof(Element), stream);
  });
  plan = info.ToVector();
  if (status.ok() && info.same_schedule_for_all_heads) {
    return Unsupported("flashinfer_fa3: ", step.rows, " rows of ", step.sequences,
                       " sequences are too many for one step");
  }
  return status;
}

Status RunFa3(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
              const FlashInferMemory& memory, cudaStream_t stream) {
  fi::PrefillPlanSM90Info info;
  info.FromVector(plan);
  Params params = ParamsOf(problem);
  const auto index = [&](int64_t offset) {
    return fi::GetPtrFromBaseOffset<int32_t>(memory.indices, offset);
  };
  params.qo_tile_indices = index(info.qo_tile_indices_offset);
  params.qo_indptr = index(info.qo_indptr_offset);
  params.kv_indptr = index(info.kv_indptr_offset);
  params.qo_lens = index(info.qo_len_offset);
  params.kv_lens = index(info.kv_len_offset);
  params.head_indices = index(info.head_indices_offset);
  params.work_indptr = index(info.work_indptr_offset);
  params.batch_indices = index(info.batch_indices_offset);
  params.kv_indices = Mutable(pages.pages);
  return CallFlashInfer("flashinfer_fa3", [&] {
    return fi::BatchPrefillWithPagedKVCacheDispatched<kDim, kDim, fi::MaskMode::kCausal, false,
                                                      false, fi::StandardAttention>(params, false,
                                                                                    stream);
  });
}

}  // namespace quire::ops::attention::cuda
