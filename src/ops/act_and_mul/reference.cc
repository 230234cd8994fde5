// In double, so that it is the truth to within the rounding of its result.
#include <cmath>
#include <numbers>

#include "ops/act_and_mul/inputs.h"
#include "tensor/element.h"

namespace quire::ops::act_and_mul {

namespace {

double Activate(Activation activation, double x) {
  if (activation == Activation::kSilu) {
    return x / (1.0 + std::exp(-x));
  }
  if (activation == Activation::kGelu) {
    return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  }
  const double y = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(y));
}

Status RunReference(const OpContext&, const Args& args) {
  const Inputs inputs(args);
  const DType dtype = args.out.dtype();
  for (int64_t t = 0; t < args.out.dim(0); ++t) {
    for (int64_t i = 0; i < args.out.dim(1); ++i) {
      const float gate = LoadElement(inputs.gate.data(), dtype, t * inputs.gate.stride(0) + i);
      double value = Activate(args.activation, gate);
      if (IsGiven(inputs.up)) {
        value *= LoadElement(inputs.up.data(), dtype, t * inputs.up.stride(0) + i);
      }
      StoreElement(static_cast<float>(value), args.out.data(), dtype, t * args.out.stride(0) + i);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::act_and_mul
