#include <cmath>
#include <vector>

#include "ops/rms_norm/rms_norm.h"
#include "ops/row_views.h"
#include "tensor/element.h"

namespace quire::ops::rms_norm {

namespace {

// Row `row` of what is normed; brings the residual up to date.
std::vector<float> Row(const Args& args, int64_t row) {
  const DType dtype = args.x.dtype();
  std::vector<float> values;
  for (int64_t i = 0; i < LastDim(args.x); ++i) {
    values.push_back(LoadElement(args.x.data(), dtype, RowLayout(args.x).Offset(row) + i));
    if (IsGiven(args.residual)) {
      const int64_t index = RowLayout(args.residual).Offset(row) + i;
      const float sum = LoadElement(args.residual.data(), dtype, index) + values.back();
      StoreElement(sum, args.residual.data(), dtype, index);
      values.back() = LoadElement(args.residual.data(), dtype, index);
    }
  }
  return values;
}

Status RunReference(const OpContext&, const Args& args) {
  const int64_t elements = LastDim(args.x);
  for (int64_t row = 0; row < RowsOf(args.x); ++row) {
    const std::vector<float> values = Row(args, row);
    double sum = 0;
    for (const float value : values) {
      sum += static_cast<double>(value) * value;
    }
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(elements) + args.epsilon);
    for (int64_t i = 0; i < elements; ++i) {
      const float weight = LoadElement(args.weight.data(), args.weight.dtype(), i);
      double value = values[static_cast<size_t>(i)] * scale * (weight + args.weight_offset);
      const int64_t index = RowLayout(args.out).Offset(row) + i;
      if (args.accumulate) {
        value += LoadElement(args.out.data(), args.out.dtype(), index);
      }
      StoreElement(static_cast<float>(value), args.out.data(), args.out.dtype(), index);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::rms_norm
