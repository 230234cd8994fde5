#include "ops/linear/pack_plain.h"

#include <cstring>

#include "tensor/element.h"

namespace quire::ops::linear {

namespace {

// out[k / depth][feature][k % depth], with the bits of `flip` turned over.
template <typename T>
void Interleave(const SourceRows& source, int64_t k, int depth, T flip, uint8_t* panel) {
  auto* out = reinterpret_cast<T*>(panel);
  for (int r = 0; r < source.count; ++r) {
    const auto* row = reinterpret_cast<const T*>(source.row[r]);
    for (int64_t i = 0; i < k; ++i) {
      out[(i / depth * kPanelWidth + r) * depth + i % depth] = static_cast<T>(row[i] ^ flip);
    }
  }
}

}  // namespace

bool HasSquareScales(const WeightSource& source) {
  return source.scales.defined() && source.scales.rank() == 2;
}

float ScaleAt(const WeightSource& source, int64_t feature, int64_t k) {
  const TensorView& scales = source.scales;
  if (!scales.defined()) {
    return 1.0f;
  }
  int64_t index = scales.dim(0) == 1 ? 0 : feature;
  if (HasSquareScales(source)) {
    index = feature / kScaleSquare * scales.stride(0) + k / kScaleSquare;
  }
  return LoadElement(scales.data(), scales.dtype(), index);
}

void PackPlain(PanelKind kind, const SourceRows& source, int64_t k, uint8_t* panel) {
  const PanelFormat format = FormatOf(kind);
  switch (format.bits) {
    case 32: return Interleave<uint32_t>(source, k, format.depth, 0, panel);
    case 16: return Interleave<uint16_t>(source, k, format.depth, 0, panel);
    default:
      return Interleave<uint8_t>(source, k, format.depth, kind == PanelKind::kI8 ? 0x80 : 0, panel);
  }
}

void PackScales(const Segment& segment, const WeightSource& source, int64_t panel, float* out) {
  const int64_t block_features = segment.scale_steps * FormatOf(segment.kind).depth;
  const int64_t first = panel * kPanelWidth;
  for (int64_t block = 0; block < segment.scale_blocks; ++block, out += kPanelWidth) {
    for (int64_t r = 0; r < kPanelWidth; ++r) {
      out[r] =
          first + r < segment.features ? ScaleAt(source, first + r, block * block_features) : 0.0f;
    }
  }
}

void ExpandI8(const WeightSource& source, int64_t feature, int64_t k, float* out) {
  const auto* row = source.weight.as<int8_t>() + feature * source.weight.stride(0);
  const float scale = ScaleAt(source, feature, 0);
  for (int64_t i = 0; i < k; ++i) {
    out[i] = scale * static_cast<float>(row[i]);
  }
}

}  // namespace quire::ops::linear
