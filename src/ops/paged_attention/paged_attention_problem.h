// paged_attention as the kernels see it.
#pragma once

#include "ops/attention/attention_problem.h"
#include "ops/paged_attention/paged_attention.h"

namespace quire::ops::paged_attention {

// REQUIRES: arrays of the right types and shapes.
attention::Problem ProblemOf(const Args& args);

}  // namespace quire::ops::paged_attention
