// Packing of plain weights (one element after the other) into panels.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "ops/linear/packed_blocks.h"

namespace quire::ops::linear {

// The rows of a view that make one panel; the last may have fewer than 16.
struct SourceRows {
  std::array<const uint8_t*, kPanelWidth> row = {};
  int count = 0;
};

inline SourceRows RowsOfPanel(const TensorView& view, int64_t panel) {
  SourceRows source;
  const int64_t first = panel * kPanelWidth;
  source.count = static_cast<int>(std::min<int64_t>(kPanelWidth, view.dim(0) - first));
  for (int r = 0; r < source.count; ++r) {
    source.row[r] = static_cast<const uint8_t*>(view.data()) +
                    BytesOf(view.dtype(), (first + r) * view.stride(0));
  }
  return source;
}

// Elements per side of a square of f8e4m3 elements that share a scale.
inline constexpr int64_t kScaleSquare = 128;

// Whether the scales of `source` are one per square.
bool HasSquareScales(const WeightSource& source);

// The scale of element [feature, k] of a plain weight; 1 without scales.
float ScaleAt(const WeightSource& source, int64_t feature, int64_t k);

// One panel of a plain kind that keeps the elements of `source`, which have the kind's type.
// REQUIRES: `panel` is zeroed where the kind pads.
void PackPlain(PanelKind kind, const SourceRows& source, int64_t k, uint8_t* panel);

// The scales of panel `panel`: out [scale blocks of `segment`][16]; 0 beyond the last feature.
void PackScales(const Segment& segment, const WeightSource& source, int64_t panel, float* out);

// Row `feature` of an i8 weight times its scale, in fp32 [k].
void ExpandI8(const WeightSource& source, int64_t feature, int64_t k, float* out);

}  // namespace quire::ops::linear
