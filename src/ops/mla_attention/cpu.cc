#include "ops/attention/cpu/cpu_attention.h"
#include "ops/mla_attention/mla_attention_problem.h"

namespace quire::ops::mla_attention {

Implementations CpuImplementations() {
  return attention::cpu::ImplementationsFor<Args, ProblemOf>();
}

}  // namespace quire::ops::mla_attention
