// A layer's share of a step as the CUDA backends' kernels take it.
#pragma once

#include "attention/attention_backend.h"
#include "ops/attention/attention_problem.h"

namespace quire {

// Whether the layer is of the step whose arrays `views` has; then writes its keys and values into
// their slots. Errors: invalid_argument; those of ops/reshape_and_cache.
Status WriteLayer(const ops::OpContext& context, const LayerAttention& layer,
                  const BatchViews& views);

// Attention of the layer's queries over all sequences of the step.
ops::attention::Problem ProblemOf(const LayerAttention& layer, const BatchViews& views);

}  // namespace quire
