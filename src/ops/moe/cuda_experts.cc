#include "ops/moe/cuda_experts.h"

#include "ops/linear/cuda/cuda_weight.h"

namespace quire::ops::moe {

namespace {

using linear::DeviceKind;
using linear::DeviceSegment;
using linear::DeviceWeight;

const DeviceWeight& DeviceWeightOf(const Expert& expert, ExpertWeight which) {
  return static_cast<const DeviceWeight&>(*(expert.*which));
}

int64_t Distance(const void* from, const void* to) {
  return static_cast<int64_t>(reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from));
}

bool HaveOneShape(const DeviceSegment& a, const DeviceSegment& b) {
  return a.kind == b.kind && a.features == b.features && a.spans == b.spans &&
         a.scale_blocks == b.scale_blocks && a.scale_shift == b.scale_shift &&
         Distance(a.data, a.scales) == Distance(b.data, b.scales) &&
         Distance(a.data, a.super) == Distance(b.data, b.super);
}

}  // namespace

std::string_view WhyNotGrouped(std::span<const Expert> experts, ExpertWeight which) {
  if (experts.empty() || experts.size() > kMaxExperts) {
    return "there are no experts, or more than 512";
  }
  for (const Expert& expert : experts) {
    if ((expert.*which)->layout() != linear::kDeviceLayout) {
      return "a weight is not packed for this device";
    }
  }
  const DeviceWeight& first = DeviceWeightOf(experts[0], which);
  for (const Expert& expert : experts) {
    const DeviceWeight& weight = DeviceWeightOf(expert, which);
    if (weight.segments().size() != 1 || weight.input_order() != nullptr ||
        weight.k() != first.k() || !HaveOneShape(weight.segments()[0], first.segments()[0])) {
      return "the experts' weights differ, or are of several types, or have an order of their own";
    }
  }
  return first.segments()[0].kind == DeviceKind::kF32 ||
                 first.mode() == linear::ActivationMode::kFp32
             ? "activations must not be rounded to 16 bits"
             : "";
}

bool RoundsToFp8(std::span<const Expert> experts, ExpertWeight which) {
  const DeviceWeight& first = DeviceWeightOf(experts[0], which);
  return first.mode() == linear::ActivationMode::kFp8 &&
         first.segments()[0].kind == DeviceKind::kF8;
}

ExpertWeights WeightsOf(std::span<const Expert> experts, ExpertWeight which) {
  const DeviceWeight& first = DeviceWeightOf(experts[0], which);
  ExpertWeights weights;
  weights.shape = first.segments()[0];
  weights.scales_at = Distance(weights.shape.data, weights.shape.scales);
  weights.super_at = Distance(weights.shape.data, weights.shape.super);
  weights.k = first.k();
  for (size_t e = 0; e < experts.size(); ++e) {
    weights.data[e] = DeviceWeightOf(experts[e], which).segments()[0].data;
  }
  return weights;
}

}  // namespace quire::ops::moe
