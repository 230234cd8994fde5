// FlashInfer's "fa3" kernels, for one type and head size. Each instantiation has its file,
// cuda_flashinfer_fa3*.cu.
#pragma once

#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>
#include <flashinfer/attention/mask.cuh>
#include <flashinfer/attention/scheduler.cuh>

#include "ops/attention/flashinfer/cuda_flashinfer.h"
#include "ops/attention/flashinfer/cuda_flashinfer_call.h"

namespace quire::ops::attention::cuda {

namespace fa3 {

namespace fi = flashinfer;

template <typename Element>
using Params = fi::BatchPrefillPagedParams<Element, Element, Element, int32_t>;

template <typename Element>
Params<Element> ParamsOf(const Problem& problem) {
  Params<Element> params = {};
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

template <typename Element, int kDim>
Status Run(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
           const FlashInferMemory& memory, cudaStream_t stream) {
  fi::PrefillPlanSM90Info info;
  info.FromVector(plan);
  Params<Element> params = ParamsOf<Element>(problem);
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

}  // namespace fa3

Status RunFa3D64(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
                 const FlashInferMemory& memory, cudaStream_t stream);
Status RunFa3F16(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
                 const FlashInferMemory& memory, cudaStream_t stream);
Status RunFa3F16D64(const Problem& problem, const FlashInferPages& pages,
                    const FlashInferPlan& plan, const FlashInferMemory& memory,
                    cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
