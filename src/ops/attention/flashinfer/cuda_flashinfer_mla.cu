// FlashInfer's kernel of multi-head latent attention for Hopper: bf16, 512 + 64 elements.
#include <flashinfer/attention/mla_hopper.cuh>
#include <flashinfer/attention/mla_params.cuh>

#include "ops/attention/flashinfer/cuda_flashinfer_call.h"
#include "ops/attention/flashinfer/cuda_flashinfer_mla.h"
#include "ops/attention/flashinfer/cuda_flashinfer_mla_plan.h"

namespace quire::ops::attention::cuda {

namespace {

namespace fi = flashinfer;

constexpr int kLatentDim = 512;
constexpr int kRopeDim = 64;
constexpr int64_t kMaxIndex = int64_t{1} << 31;  // what the kernel's offsets can say

using Element = __nv_bfloat16;
using Params = fi::MLAParams<Element, Element, Element, int32_t>;

void SetPlan(const MlaPlan& plan, Params& params) {
  params.q_indptr = plan.first_row;
  params.q_len = plan.rows;
  params.q_start = plan.tile_start;
  params.kv_indptr = plan.page_start;
  params.kv_len = plan.keys;
  params.kv_start = plan.key_start;
  params.kv_end = plan.key_end;
  params.partial_indptr = plan.partial;
  params.work_indptr = plan.piece_start;
  params.merge_packed_offset_start = plan.merge_start;
  params.merge_packed_offset_end = plan.merge_end;
  params.merge_partial_packed_offset_start = plan.merge_partial_start;
  params.merge_partial_packed_offset_end = plan.merge_partial_end;
  params.merge_partial_stride = plan.merge_stride;
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
  params.kv_indices = Mutable(problem.page_table);
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

bool IsAligned(const HeadRows& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.row_stride % 8 == 0 &&
         rows.head_stride % 8 == 0;
}

size_t PartialRows(const MlaGrid& grid) {
  return static_cast<size_t>(grid.partials()) * static_cast<size_t>(grid.tile());
}

}  // namespace

std::string_view WhyNotFlashInferMla(const Problem& problem) {
  if (problem.kv_dtype != DType::kBF16 || problem.query.dtype != DType::kBF16) {
    return "queries and the cache are not both bf16";
  }
  if (problem.value_dim != kLatentDim || problem.key_dim != kLatentDim + kRopeDim) {
    return "rows are not of 512 + 64 elements";
  }
  if (problem.q_heads > 2 * kMlaBlockRows || (2 * kMlaBlockRows) % problem.q_heads != 0) {
    return "the number of heads is not a power of two up to 128";
  }
  if (!IsAligned(problem.query) || !IsAligned(problem.out) ||
      reinterpret_cast<uintptr_t>(problem.key.data) % 16 != 0) {
    return "rows are not aligned to 16 bytes";
  }
  const bool small =
      problem.num_sequences <= kMaxMlaSequences &&
      problem.num_rows * problem.query.row_stride < kMaxIndex &&
      problem.num_rows * problem.out.row_stride < kMaxIndex &&
      int64_t{problem.num_sequences} * problem.max_pages * problem.page_size < kMaxIndex &&
      MostMlaCost(problem) < kMaxIndex;
  return small ? "" : "there are too many rows, sequences or pages";
}

size_t FlashInferMlaScratchBytes(const Problem& problem, int multiprocessors) {
  const MlaGrid grid = MlaGridOf(problem, multiprocessors);
  MlaPlan plan;
  return PartialRows(grid) * (kLatentDim * sizeof(Element) + sizeof(float)) +
         LayOutMlaPlan(problem, grid, nullptr, plan);
}

Status RunFlashInferMla(const Problem& problem, int multiprocessors, void* scratch,
                        cudaStream_t stream) {
  if (problem.num_rows == 0) {
    return OkStatus();
  }
  const MlaGrid grid = MlaGridOf(problem, multiprocessors);
  Params params = ParamsOf(problem);
  params.partial_o = static_cast<Element*>(scratch);
  params.partial_lse = reinterpret_cast<float*>(params.partial_o + PartialRows(grid) * kLatentDim);
  MlaPlan plan;
  LayOutMlaPlan(problem, grid, params.partial_lse + PartialRows(grid), plan);
  SetPlan(plan, params);
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(MakeMlaPlan(problem, grid, plan, stream), "flashinfer_mla: PlanKernel"));
  return CallFlashInfer("flashinfer_mla", [&] {
    return fi::mla::BatchMLAPageAttentionHopper<fi::MaskMode::kCausal, kLatentDim, kRopeDim>(
        params, static_cast<uint32_t>(grid.cluster_blocks), static_cast<uint32_t>(grid.clusters),
        stream);
  });
}

}  // namespace quire::ops::attention::cuda
