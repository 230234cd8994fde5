#include "ops/attention/cpu/cpu_attention.h"
#include "ops/paged_attention/paged_attention_problem.h"

namespace quire::ops::paged_attention {

Implementations CpuImplementations() {
  return attention::cpu::ImplementationsFor<Args, ProblemOf>();
}

}  // namespace quire::ops::paged_attention
