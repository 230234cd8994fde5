#include "ops/attention/cuda_attention.h"
#include "ops/flash_attention/flash_attention_problem.h"

namespace quire::ops::flash_attention {

Implementations CudaImplementations() {
  return attention::cuda::ImplementationsFor<Args, ProblemOf>();
}

}  // namespace quire::ops::flash_attention
