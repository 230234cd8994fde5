// bf16 with heads of 64.
#include "ops/attention/flashinfer/cuda_flashinfer_fa3.cuh"

namespace quire::ops::attention::cuda {

Status RunFa3D64(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
                 const FlashInferMemory& memory, cudaStream_t stream) {
  return fa3::Run<cutlass::bfloat16_t, 64>(problem, pages, plan, memory, stream);
}

}  // namespace quire::ops::attention::cuda
