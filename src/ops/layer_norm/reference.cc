#include <cmath>
#include <vector>

#include "ops/layer_norm/layer_norm.h"
#include "ops/row_views.h"
#include "tensor/element.h"

namespace quire::ops::layer_norm {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  const int64_t elements = LastDim(args.x);
  std::vector<double> values(static_cast<size_t>(elements));
  for (int64_t row = 0; row < RowsOf(args.x); ++row) {
    double mean = 0;
    for (int64_t i = 0; i < elements; ++i) {
      values[i] = LoadElement(args.x.data(), args.x.dtype(), RowLayout(args.x).Offset(row) + i);
      mean += values[i] / static_cast<double>(elements);
    }
    double variance = 0;
    for (const double value : values) {
      variance += (value - mean) * (value - mean) / static_cast<double>(elements);
    }
    for (int64_t i = 0; i < elements; ++i) {
      double value = (values[i] - mean) / std::sqrt(variance + args.epsilon) *
                     LoadElement(args.weight.data(), args.weight.dtype(), i);
      if (IsGiven(args.bias)) {
        value += LoadElement(args.bias.data(), args.bias.dtype(), i);
      }
      StoreElement(static_cast<float>(value), args.out.data(), args.out.dtype(),
                   RowLayout(args.out).Offset(row) + i);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::layer_norm
