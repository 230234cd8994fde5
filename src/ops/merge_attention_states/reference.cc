#include <algorithm>
#include <cmath>

#include "ops/merge_attention_states/merge_attention_states.h"
#include "ops/row_views.h"
#include "tensor/element.h"

namespace quire::ops::merge_attention_states {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  const DType dtype = args.out.dtype();
  for (int64_t row = 0; row < RowsOf(args.out); ++row) {
    const double a = args.lse_a.as<const float>()[row];
    const double b = args.lse_b.as<const float>()[row];
    const bool any = std::isfinite(a) || std::isfinite(b);
    const double lse = any ? std::max(a, b) + std::log1p(std::exp(-std::abs(a - b))) : -INFINITY;
    const double weight_a = std::isfinite(a) ? std::exp(a - lse) : 0;
    const double weight_b = std::isfinite(b) ? std::exp(b - lse) : 0;
    for (int64_t d = 0; d < LastDim(args.out); ++d) {
      double value = 0;
      if (weight_a > 0) {
        value +=
            weight_a * LoadElement(args.out_a.data(), dtype, RowLayout(args.out_a).Offset(row) + d);
      }
      if (weight_b > 0) {
        value +=
            weight_b * LoadElement(args.out_b.data(), dtype, RowLayout(args.out_b).Offset(row) + d);
      }
      StoreElement(static_cast<float>(value), args.out.data(), dtype,
                   RowLayout(args.out).Offset(row) + d);
    }
    args.lse.as<float>()[row] = static_cast<float>(lse);
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference,
           "f32, f16, bf16"}};
}

}  // namespace quire::ops::merge_attention_states
