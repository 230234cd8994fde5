#include "ops/attention/cpu/cpu_attention.h"
#include "ops/flash_attention/flash_attention_problem.h"

namespace quire::ops::flash_attention {

Implementations CpuImplementations() {
  return attention::cpu::ImplementationsFor<Args, ProblemOf>();
}

}  // namespace quire::ops::flash_attention
