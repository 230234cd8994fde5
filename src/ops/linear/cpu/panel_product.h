// How the CPU implementations of linear share one driver: an implementation is a set of kernels,
// each the product of a few weight panels with one tile of activation rows.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "ops/linear/linear.h"
#include "ops/linear/packed_blocks.h"
#include "ops/linear/quantize_activations.h"
#include "platform/cpu/cpu_device.h"

namespace quire::ops::linear {

// The rows a tile may have. A product of M rows is cut into the largest that fit.
inline constexpr int kTileRows[] = {1, 2, 3, 4, 8, 12};
inline constexpr int kTileSizes = 6;
inline constexpr int kMaxTileRows = 12;

// A product of so few rows waits for its weights. They are asked for this many bytes early, those
// of the panels behind the product's own too.
inline constexpr int kStreamedRows = 4;
inline constexpr int64_t kPrefetchDistance = 4096;

// A kernel of more rows than that goes through the groups so often, each time for some of the rows.
inline constexpr int kPasses = 2;

// The most panels of one product. Several hide the latency of a sum with few rows, and share the
// loads of activations in one of many.
inline constexpr int kMaxPanels = 4;
constexpr int PanelsPerProduct(PanelKind kind) {
  switch (FormatOf(kind).form) {
    case ActivationForm::kBf16: return kMaxPanels;
    case ActivationForm::kBlock8: return 2;
    default: return 1;
  }
}

// out[r][c] (=, +=) sum over K of x[r] * w[c] (+ bias[c]) for the rows of a tile and the features
// of `panels` adjacent panels, the last of which may lack some. The order of floating-point
// operations for one element is the same for all kernels of a kind:
//   block-quantized  per group (or subgroup) in ascending k: acc = fma(float(integer product),
//                    scale_w * scale_x, acc), then with mins acc = fma(min, scaled_sum, acc)
//   fp32, bf16       in ascending k: acc = fma(w, x, acc); bf16 dot products instead add pairs
//   scaled blocks    of those: acc per block of scale_steps groups, sum = fma(acc, scale, sum)
//   8 bits per row   float(integer product) * (scale_w * scale_x)
// and then bias is added, then out.
struct TileProduct {
  const uint8_t* panel;
  int panels;
  int64_t panel_bytes;
  int64_t groups;
  const float* scales;  // [panels][scale_blocks][16] or null
  int64_t scale_blocks;
  int64_t scale_steps;
  // By the segment's form. kFp32, kFp8: f32 [K, rounded up to 2][rows]. kBf16: words of two bf16 [K
  // / 2, rounded up][rows] or, where the set has no bf16 products, as kFp32 with rounded values.
  // kBlock8: QuantizedTile::words. kRow8: codes [K / 4, rounded up][rows][4], scale f32 [rows],
  // -128 * sum of the codes i32 [rows].
  const uint8_t* tile;
  const int32_t* offsets;  // kBlock8: QuantizedTile::offsets
  float* out;
  int64_t out_stride;
  int columns;        // in all panels
  const float* bias;  // [columns] or null
  bool accumulate;
  // Panels of a later product, to be fetched into the second cache meanwhile: `next_step` bytes, a
  // multiple of 64, for each group of each of kPasses passes. 0 for few rows. Only speed depends on
  // it.
  const uint8_t* next;
  int64_t next_step;
};
using TileKernel = void (*)(const TileProduct& product);

// The part of `product` from panel `first` on.
inline TileProduct FromPanel(const TileProduct& product, int first) {
  TileProduct part = product;
  part.panel += first * product.panel_bytes;
  part.panels -= first;
  part.scales += first * product.scale_blocks * kPanelWidth;
  part.out += first * kPanelWidth;
  part.columns -= first * kPanelWidth;
  part.bias += product.bias != nullptr ? first * kPanelWidth : 0;
  return part;
}

// What QuantizeRow() says of a row beside its codes.
struct RowScale {
  float scale;
  int32_t sum;
};

using KernelTable = std::array<std::array<TileKernel, kTileSizes>, kPanelKinds>;

struct KernelSet {
  CpuIsa isa;
  bool bf16_products;
  void (*quantize)(const float* x, int64_t stride, int64_t groups, int rows,
                   const QuantizedTile& tile);
  RowScale (*quantize_row)(const float* x, int64_t k, int8_t* codes);  // kRow8
  KernelTable product;                                                 // [PanelKind][kTileRows]
};

// The table of Kernel<kind, rows>::Run.
template <template <PanelKind, int> class Kernel, PanelKind kKind>
constexpr std::array<TileKernel, kTileSizes> KernelsOf() {
  return {Kernel<kKind, 1>::Run, Kernel<kKind, 2>::Run, Kernel<kKind, 3>::Run,
          Kernel<kKind, 4>::Run, Kernel<kKind, 8>::Run, Kernel<kKind, 12>::Run};
}
template <template <PanelKind, int> class Kernel, int... kKinds>
constexpr KernelTable TableOf(std::integer_sequence<int, kKinds...>) {
  return {KernelsOf<Kernel, static_cast<PanelKind>(kKinds)>()...};
}
template <template <PanelKind, int> class Kernel>
constexpr KernelTable TableOf() {
  return TableOf<Kernel>(std::make_integer_sequence<int, kPanelKinds>());
}

// Whether `args` is a product alone, with a weight in the panel layout.
bool HasPanels(const Args& args);

// Runs `args` with the kernels of `set` on the stream's threads. REQUIRES: HasPanels(args).
Status RunPanels(const KernelSet& set, const OpContext& context, const Args& args);

}  // namespace quire::ops::linear
