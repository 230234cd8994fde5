#include "ops/attention/cuda_attention.h"
#include "ops/paged_attention/paged_attention_problem.h"

namespace quire::ops::paged_attention {

Implementations CudaImplementations() {
  return attention::cuda::ImplementationsFor<Args, ProblemOf>();
}

}  // namespace quire::ops::paged_attention
