// bf16 with heads of 128, and the plan of all.
#include "ops/attention/flashinfer/cuda_flashinfer_fa3.cuh"

namespace quire::ops::attention::cuda {

Status PlanFa3(const FlashInferStep& step, const FlashInferMemory& memory, cudaStream_t stream,
               FlashInferPlan& plan) {
  flashinfer::PrefillPlanSM90Info info;
  const Status status = CallFlashInfer("flashinfer_fa3 plan", [&] {
    return flashinfer::PrefillSM90Plan<int32_t>(
        memory.partials, memory.partial_bytes, memory.indices, memory.host_indices,
        memory.index_bytes, info, Mutable(step.query_start), Mutable(step.page_start),
        Mutable(step.kv_length), static_cast<uint32_t>(step.rows),
        static_cast<uint32_t>(step.sequences), static_cast<uint32_t>(step.q_heads),
        static_cast<uint32_t>(step.kv_heads), static_cast<uint32_t>(step.head_dim),
        static_cast<uint32_t>(step.head_dim), static_cast<uint32_t>(step.page_size), true, false,
        sizeof(uint16_t), stream);
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
  const bool half = problem.kv_dtype == DType::kF16;
  if (problem.key_dim == 64) {
    return half ? RunFa3F16D64(problem, pages, plan, memory, stream)
                : RunFa3D64(problem, pages, plan, memory, stream);
  }
  return half ? RunFa3F16(problem, pages, plan, memory, stream)
              : fa3::Run<cutlass::bfloat16_t, 128>(problem, pages, plan, memory, stream);
}

}  // namespace quire::ops::attention::cuda
