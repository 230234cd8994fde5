// How the CPU implementations of linear share one driver: an implementation is a set of kernels,
// each the product of one weight panel with one tile of activation rows.
#pragma once

#include <array>
#include <cstdint>

#include "ops/linear/linear.h"
#include "ops/linear/packed_blocks.h"
#include "ops/linear/quantize_activations.h"

namespace quire::ops::linear {

// The rows a tile may have. A product of M rows is cut into the largest that fit.
inline constexpr int kTileRows[] = {1, 2, 3, 4, 8, 12};
inline constexpr int kTileSizes = 6;
inline constexpr int kMaxTileRows = 12;

// out[r][c] (=, +=) sum over K of x[r] * w[c] (+ bias[c]) for the rows of a tile and `columns` <=
// 16 features of a panel. The order of floating-point operations for one element is the same for
// all kernels of a kind:
//   quantized  per group (or subgroup) in ascending k: acc = fma(float(integer product), scale_w *
//   scale_x,
//              acc), then with mins acc = fma(min, scaled_sum, acc)
//   dense      in ascending k: acc = fma(w, x, acc)
// and then bias is added, then out.
struct TileProduct {
  const uint8_t* panel;
  int64_t groups;
  const uint8_t* tile;     // quantized: QuantizedTile::words; dense: f32 [K][rows]
  const int32_t* offsets;  // quantized: QuantizedTile::offsets
  float* out;
  int64_t out_stride;
  int columns;
  const float* bias;  // [columns] or null
  bool accumulate;
};
using TileKernel = void (*)(const TileProduct& product);

struct KernelSet {
  void (*quantize)(const float* x, int64_t stride, int64_t groups, int rows,
                   const QuantizedTile& tile);
  std::array<std::array<TileKernel, kTileSizes>, kPanelKinds> product;  // [PanelKind][kTileRows]
};

// Whether `args` has a weight in the panel layout.
bool HasPanels(const Args& args);

// Runs `args` with the kernels of `set` on the stream's threads. REQUIRES: HasPanels(args).
Status RunPanels(const KernelSet& set, const OpContext& context, const Args& args);

}  // namespace quire::ops::linear
