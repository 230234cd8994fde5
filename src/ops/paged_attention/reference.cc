#include "ops/attention/attention_reference.h"
#include "ops/paged_attention/paged_attention_problem.h"

namespace quire::ops::paged_attention {

Implementations ReferenceImplementations() {
  return attention::ReferenceFor<Args, ProblemOf>();
}

}  // namespace quire::ops::paged_attention
