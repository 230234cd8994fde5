#include "ops/attention/cuda_attention.h"
#include "ops/mla_attention/mla_attention_problem.h"

namespace quire::ops::mla_attention {

Implementations CudaImplementations() {
  return attention::cuda::ImplementationsFor<Args, ProblemOf>();
}

}  // namespace quire::ops::mla_attention
