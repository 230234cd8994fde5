// Device code: one expert's weight.
#pragma once

#include "ops/moe/cuda_grouped_product.h"

namespace quire::ops::moe {

__device__ inline linear::DeviceSegment WeightOf(const ExpertWeights& weights, int32_t expert) {
  linear::DeviceSegment segment = weights.shape;
  segment.data = weights.data[expert];
  segment.scales = segment.data + weights.scales_at;
  segment.super = reinterpret_cast<const uint32_t*>(segment.data + weights.super_at);
  return segment;
}

}  // namespace quire::ops::moe
