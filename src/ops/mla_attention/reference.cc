#include "ops/attention/attention_reference.h"
#include "ops/mla_attention/mla_attention_problem.h"

namespace quire::ops::mla_attention {

Implementations ReferenceImplementations() {
  return attention::ReferenceFor<Args, ProblemOf>();
}

}  // namespace quire::ops::mla_attention
