#include <cmath>

#include "ops/rms_norm/rows.h"

namespace quire::ops::rms_norm {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  const int64_t elements = RowElements(args);
  const float* weight = args.weight.as<float>();
  for (int64_t row = 0; row < RowsOf(args); ++row) {
    const float* x = args.x.as<float>() + RowLayout(args.x).Offset(row);
    float* out = args.out.as<float>() + RowLayout(args.out).Offset(row);
    double sum = 0;
    for (int64_t i = 0; i < elements; ++i) {
      sum += static_cast<double>(x[i]) * x[i];
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(elements));
    const float scale = 1.0f / std::sqrt(mean + args.epsilon);
    for (int64_t i = 0; i < elements; ++i) {
      const float value = x[i] * scale * weight[i];
      out[i] = args.accumulate ? out[i] + value : value;
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::rms_norm
