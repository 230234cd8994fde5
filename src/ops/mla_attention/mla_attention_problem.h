// mla_attention as the kernels see it.
#pragma once

#include "ops/attention/attention_problem.h"
#include "ops/mla_attention/mla_attention.h"

namespace quire::ops::mla_attention {

// REQUIRES: arrays of the right types and shapes.
attention::Problem ProblemOf(const Args& args);

}  // namespace quire::ops::mla_attention
