// In double, so that it is the truth to within the rounding of its result.
#include <cmath>
#include <numbers>

#include "ops/act_and_mul/act_and_mul.h"

namespace quire::ops::act_and_mul {

namespace {

double Activate(Activation activation, double x) {
  if (activation == Activation::kSilu) {
    return x / (1.0 + std::exp(-x));
  }
  const double y = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(y));
}

Status RunReference(const OpContext&, const Args& args) {
  const int64_t features = args.out.dim(1);
  for (int64_t t = 0; t < args.out.dim(0); ++t) {
    const float* gate = args.gate_up.as<float>() + t * args.gate_up.stride(0);
    float* out = args.out.as<float>() + t * args.out.stride(0);
    for (int64_t i = 0; i < features; ++i) {
      out[i] = static_cast<float>(Activate(args.activation, gate[i]) * gate[features + i]);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::act_and_mul
