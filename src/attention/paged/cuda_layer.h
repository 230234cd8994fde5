// A layer's share of a step as the CUDA backends' kernels take it.
#pragma once

#include "attention/attention_backend.h"
#include "ops/attention/attention_problem.h"

namespace quire {

// Attention of the layer's queries over all sequences of the step.
ops::attention::Problem ProblemOf(const LayerAttention& layer, const BatchViews& views);

}  // namespace quire
