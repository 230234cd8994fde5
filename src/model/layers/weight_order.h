// The order in which a model reads its weights, so that one is asked for ahead of its product.
#pragma once

#include <vector>

#include "model/layers/output_head.h"
#include "ops/linear/linear.h"

namespace quire {

// The first weight that is read after layer `index`. A Layer has an AttentionLayer `attention`.
template <typename Layer>
const ops::linear::PackedWeight& WeightAfter(const std::vector<Layer>& layers, int32_t index,
                                             const OutputHead& head) {
  const auto next = static_cast<size_t>(index) + 1;
  return next < layers.size() ? layers[next].attention.first_weight() : head.weight();
}

}  // namespace quire
