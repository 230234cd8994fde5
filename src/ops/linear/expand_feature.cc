// Panels back to rows: what the reference multiplies with.
#include <cstring>

#include "ops/linear/packed_blocks.h"
#include "tensor/element.h"

namespace quire::ops::linear {

namespace {

float ReadScale(bool half, const uint8_t* scales, int column) {
  return LoadElement(scales, half ? DType::kF16 : DType::kF32, column);
}

float PlainElement(PanelKind kind, const uint8_t* group, int index) {
  switch (kind) {
    case PanelKind::kF16: return LoadElement(group, DType::kF16, index);
    case PanelKind::kBF16:
    case PanelKind::kBF16Pairs: return LoadElement(group, DType::kBF16, index);
    case PanelKind::kF8:
    case PanelKind::kF8Pairs: return LoadElement(group, DType::kF8E4M3, index);
    case PanelKind::kI8: return static_cast<float>(group[index] - 128);
    default: return LoadElement(group, DType::kF32, index);
  }
}

void ExpandGroup(PanelKind kind, const uint8_t* group, int column, float* out) {
  const PanelFormat format = FormatOf(kind);
  const uint8_t* scales = group + format.CodeBytes();
  float min = 0.0f;
  if (format.has_min) {
    min = ReadScale(format.half_scales, scales + format.subgroups * format.ScaleBytes(), column);
  }
  if (kind == PanelKind::kU4Zero) {
    min *= ReadScale(format.half_scales, scales, column);
  }
  for (int i = 0; i < kGroup; ++i) {
    int code;
    if (format.bits == 4) {
      const uint8_t pair = group[64 * (i % 16 / 4) + 4 * column + i % 4];
      code = i < 16 ? pair & 15 : pair >> 4;
    } else {
      code = group[64 * (i / 4) + 4 * column + i % 4];
    }
    const int subgroup = i * format.subgroups / kGroup;
    const float scale =
        ReadScale(format.half_scales, scales + subgroup * format.ScaleBytes(), column);
    out[i] = scale * static_cast<float>(code - format.Offset()) + min;
  }
}

}  // namespace

void ExpandFeature(const Segment& segment, int64_t feature, int64_t k, float* out) {
  const PanelFormat format = FormatOf(segment.kind);
  const int64_t panel = feature / kPanelWidth;
  const uint8_t* group = segment.data + panel * segment.panel_bytes;
  const int column = static_cast<int>(feature % kPanelWidth);
  if (!format.IsPlain()) {
    for (int64_t i = 0; i < k; i += kGroup, group += format.GroupBytes()) {
      ExpandGroup(segment.kind, group, column, out + i);
    }
    return;
  }
  const float* scales = segment.scales + panel * segment.scale_blocks * kPanelWidth + column;
  for (int64_t i = 0; i < k; ++i) {
    const int64_t step = i / format.depth;
    const int index = column * format.depth + static_cast<int>(i % format.depth);
    const float element = PlainElement(segment.kind, group + step * format.GroupBytes(), index);
    out[i] = segment.scale_blocks == 0 ? element
                                       : element * scales[step / segment.scale_steps * kPanelWidth];
  }
}

}  // namespace quire::ops::linear
