#include "ops/attention/attention_reference.h"
#include "ops/flash_attention/flash_attention_problem.h"

namespace quire::ops::flash_attention {

Implementations ReferenceImplementations() {
  return attention::ReferenceFor<Args, ProblemOf>();
}

}  // namespace quire::ops::flash_attention
