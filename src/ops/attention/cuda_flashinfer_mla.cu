// FlashInfer's kernel of multi-head latent attention for Hopper: bf16, 512 + 64 elements.
#include <flashinfer/attention/mla_hopper.cuh>
#include <flashinfer/attention/mla_params.cuh>
#include <flashinfer/attention/scheduler.cuh>

#include "ops/attention/cuda_flashinfer.h"
#include "ops/attention/cuda_flashinfer_call.h"

namespace quire::ops::attention::cuda {

namespace {

namespace fi = flashinfer;

constexpr int kLatentDim = 512;
constexpr int kRopeDim = 64;

using Element = __nv_bfloat16;
using Params = fi::MLAParams<Element, Element, Element, int32_t>;

// FlashInfer's parameters have no const.
template <typename T>
T* Mutable(const T* data) {
  return const_cast<T*>(data);
}

Params ParamsOf(const Problem& problem) {
  Params params = {};
  auto* const query = static_cast<Element*>(problem.query.data);
  auto* const rows = static_cast<Element*>(const_cast<void*>(problem.key.data));
  params.q_nope = query;
  params.q_pe = query + kLatentDim;
  params.ckv = rows;
  params.kpe = rows + kLatentDim;
  params.final_o = static_cast<Element*>(problem.out.data);
  params.final_lse = problem.lse;
  params.num_heads = fi::uint_fastdiv(static_cast<uint32_t>(problem.q_heads));
  params.block_size = fi::uint_fastdiv(static_cast<uint32_t>(problem.page_size));
  params.q_nope_stride_n = params.q_pe_stride_n = static_cast<uint32_t>(problem.query.row_stride);
  params.q_nope_stride_h = params.q_pe_stride_h = static_cast<uint32_t>(problem.query.head_stride);
  params.ckv_stride_page = params.kpe_stride_page = static_cast<uint32_t>(problem.key.strides.page);
  params.ckv_stride_n = params.kpe_stride_n = static_cast<uint32_t>(problem.key.strides.token);
  params.o_stride_n = static_cast<uint32_t>(problem.out.row_stride);
  params.o_stride_h = static_cast<uint32_t>(problem.out.head_stride);
  params.sm_scale = problem.scale;
  params.return_lse_base_on_e = true;
  return params;
}

void SetIndices(const fi::MLAPlanInfo& info, const FlashInferMemory& memory, Params& params) {
  const auto index = [&](int64_t offset) {
    return fi::GetPtrFromBaseOffset<int32_t>(memory.indices, offset);
  };
  params.q_indptr = index(info.q_indptr_offset);
  params.kv_indptr = index(info.kv_indptr_offset);
  params.partial_indptr = index(info.partial_indptr_offset);
  params.q_len = index(info.q_len_offset);
  params.kv_len = index(info.kv_len_offset);
  params.q_start = index(info.q_start_offset);
  params.kv_start = index(info.kv_start_offset);
  params.kv_end = index(info.kv_end_offset);
  params.work_indptr = index(info.work_indptr_offset);
  params.merge_packed_offset_start = index(info.merge_packed_offset_start_offset);
  params.merge_packed_offset_end = index(info.merge_packed_offset_end_offset);
  params.merge_partial_packed_offset_start = index(info.merge_partial_packed_offset_start_offset);
  params.merge_partial_packed_offset_end = index(info.merge_partial_packed_offset_end_offset);
  params.merge_partial_stride = index(info.merge_partial_stride_offset);
  params.partial_o = fi::GetPtrFromBaseOffset<Element>(memory.partials, info.partial_o_offset);
  params.partial_lse = fi::GetPtrFromBaseOffset<float>(memory.partials, info.partial_lse_offset);
}

}  // namespace

Status PlanMla(const FlashInferStep& step, const FlashInferMemory& memory, cudaStream_t stream,
               FlashInferPlan& plan) {
  fi::MLAPlanInfo info = {};
  size_t staged_bytes = 0;
  const Status status = CallFlashInfer("flashinfer_mla plan", [&] {
    const cudaError_t error = fi::MLAPlan<int32_t>(
        memory.partials, memory.partial_bytes, memory.indices, memory.host_indices,
        memory.index_bytes, info, staged_bytes, Mutable(step.query_start), Mutable(step.page_start),
        Mutable(step.kv_length), static_cast<uint32_t>(step.sequences),
        static_cast<uint32_t>(step.q_heads), kLatentDim, true, stream);
    return error != cudaSuccess ? error
                                : cudaMemcpyAsync(memory.indices, memory.host_indices, staged_bytes,
                                                  cudaMemcpyHostToDevice, stream);
  });
  plan = info.ToVector();
  return status;
}

Status RunMla(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
              const FlashInferMemory& memory, cudaStream_t stream) {
  fi::MLAPlanInfo info = {};
  info.FromVector(plan);
  Params params = ParamsOf(problem);
  SetIndices(info, memory, params);
  params.kv_indices = Mutable(pages.pages);
  return CallFlashInfer("flashinfer_mla", [&] {
    return fi::mla::BatchMLAPageAttentionHopper<fi::MaskMode::kCausal, kLatentDim, kRopeDim>(
        params, static_cast<uint32_t>(info.num_blks_x), static_cast<uint32_t>(info.num_blks_y),
        stream);
  });
}

}  // namespace quire::ops::attention::cuda
