#include <cmath>
#include <vector>

#include "ops/rope/rope.h"
#include "ops/row_views.h"
#include "tensor/element.h"

namespace quire::ops::rope {

namespace {

// cos and sin of every pair of token `t`, in turn.
std::vector<float> CosSinOf(const Args& args, int64_t t) {
  std::vector<float> cos_sin;
  if (IsGiven(args.cos_sin)) {
    const int64_t count = 2 * args.cos_sin.dim(1);
    const float* row = args.cos_sin.as<float>() + t * count;
    cos_sin.assign(row, row + count);
    return cos_sin;
  }
  const Angles& angles = args.angles;
  const int64_t pairs = angles.inverse_frequency.dim(0);
  int section = 0;
  int64_t section_end = angles.positions.rank() == 2 ? angles.sections[0] : pairs;
  for (int64_t i = 0; i < pairs; ++i) {
    while (i == section_end) {
      section_end += angles.sections[++section];
    }
    const double angle =
        static_cast<double>(angles.positions.as<int32_t>()[section * args.x.dim(0) + t]) *
        angles.inverse_frequency.as<float>()[i];
    cos_sin.push_back(static_cast<float>(std::cos(angle)) * angles.attention_factor);
    cos_sin.push_back(static_cast<float>(std::sin(angle)) * angles.attention_factor);
  }
  return cos_sin;
}

Status RunReference(const OpContext&, const Args& args) {
  const TensorView& x = args.x;
  const TensorView& out = IsGiven(args.out) ? args.out : x;
  const bool neox = args.style == Style::kNeox;
  for (int64_t t = 0; t < x.dim(0); ++t) {
    const std::vector<float> cos_sin = CosSinOf(args, t);
    const auto pairs = static_cast<int64_t>(cos_sin.size()) / 2;
    for (int64_t h = 0; h < x.dim(1); ++h) {
      const int64_t from = t * x.stride(0) + h * x.stride(1);
      const int64_t to = t * out.stride(0) + h * out.stride(1);
      for (int64_t i = 0; i < pairs; ++i) {
        const int64_t first = neox ? i : 2 * i;
        const int64_t second = neox ? i + pairs : 2 * i + 1;
        const float a = LoadElement(x.data(), x.dtype(), from + first);
        const float b = LoadElement(x.data(), x.dtype(), from + second);
        const float cosine = cos_sin[2 * i];
        const float sine = cos_sin[2 * i + 1];
        StoreElement(a * cosine - b * sine, out.data(), x.dtype(), to + first);
        StoreElement(b * cosine + a * sine, out.data(), x.dtype(), to + second);
      }
      for (int64_t i = 2 * pairs; i < x.dim(2); ++i) {
        StoreElement(LoadElement(x.data(), x.dtype(), from + i), out.data(), x.dtype(), to + i);
      }
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::rope
