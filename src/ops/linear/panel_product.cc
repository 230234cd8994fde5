#include "ops/linear/panel_product.h"

#include <algorithm>

#include "platform/cpu/cpu_device.h"

namespace quire::ops::linear {

namespace {

// Activations of one block of rows should stay in a core's own cache while the panels pass.
constexpr int64_t kBlockBytes = 512 * 1024;
// Multiply-adds that make a task worth claiming; about 10 microseconds of one core.
constexpr int64_t kTaskProducts = int64_t{2} << 20;
// Elements below which a second parallel region costs more than it saves.
constexpr int64_t kSerialElements = 8192;

// Calls body(row, size index) for the tiles of rows [begin, end).
template <typename Body>
void ForEachTile(int64_t begin, int64_t end, const Body& body) {
  int size = kTileSizes - 1;
  for (int64_t row = begin; row < end; row += kTileRows[size]) {
    while (kTileRows[size] > end - row) {
      --size;
    }
    body(row, size);
  }
}

// All rows of x in tiles, as the segments of a weight need them. Row t's share of each array is at
// t * (bytes of a row), whatever the tiles are.
struct Activations {
  int64_t k = 0;
  uint8_t* words = nullptr;    // quantized
  int32_t* offsets = nullptr;  // quantized
  uint8_t* dense = nullptr;

  int64_t groups() const { return k / kGroup; }
  QuantizedTile Quantized(int64_t row) const {
    return {words + row * groups() * kTileWordsPerRow * 4,
            offsets + row * groups() * kOffsetWordsPerRow};
  }
  uint8_t* Dense(int64_t row) const { return dense + row * k * 4; }
};

void InterleaveRows(const float* x, int64_t stride, int64_t k, int rows, uint8_t* tile) {
  auto* out = reinterpret_cast<float*>(tile);
  for (int r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < k; ++i) {
      out[i * rows + r] = x[r * stride + i];
    }
  }
}

void PrepareRows(const KernelSet& set, const TensorView& x, int64_t begin, int64_t end,
                 const Activations& activations) {
  ForEachTile(begin, end, [&](int64_t row, int size) {
    const float* in = x.as<float>() + row * x.stride(0);
    const int rows = kTileRows[size];
    if (activations.words != nullptr) {
      set.quantize(in, x.stride(0), activations.groups(), rows, activations.Quantized(row));
    }
    if (activations.dense != nullptr) {
      InterleaveRows(in, x.stride(0), activations.k, rows, activations.Dense(row));
    }
  });
}

Activations PrepareActivations(const KernelSet& set, const OpContext& context, const TensorView& x,
                               const PanelWeight& weight) {
  const int64_t m = x.dim(0);
  Activations activations;
  activations.k = weight.k();
  bool quantized = false;
  bool dense = false;
  for (const Segment& segment : weight.segments()) {
    (FormatOf(segment.kind).IsDense() ? dense : quantized) = true;
  }
  if (quantized) {
    const auto groups = static_cast<size_t>(m * activations.groups());
    activations.words = context.workspace.Allocate<uint8_t>(groups * kTileWordsPerRow * 4);
    activations.offsets = context.workspace.Allocate<int32_t>(groups * kOffsetWordsPerRow);
  }
  if (dense) {
    activations.dense =
        context.workspace.Allocate<uint8_t>(static_cast<size_t>(m * weight.k() * 4));
  }
  if (m * weight.k() <= kSerialElements) {
    PrepareRows(set, x, 0, m, activations);
    return activations;
  }
  AsCpuStream(context.stream)
      .threads()
      .ParallelFor((m + kMaxTileRows - 1) / kMaxTileRows, [&](int64_t task, int) {
        const int64_t row = task * kMaxTileRows;
        PrepareRows(set, x, row, std::min(row + kMaxTileRows, m), activations);
      });
  return activations;
}

// The cut of a product into tasks: blocks of rows, each with chunks of panels.
struct Cut {
  int64_t block_rows;  // a multiple of kMaxTileRows
  int64_t blocks;
  int64_t chunk_panels;
  int64_t chunks;
};

Cut CutProduct(int64_t m, int64_t k, int64_t panels, int threads) {
  const int64_t row_bytes = k * 5 / 4;
  int64_t rows = std::clamp<int64_t>(kBlockBytes / row_bytes, 48, 4096);
  const int64_t wanted_blocks = 4 * threads / panels + 1;  // few panels: more blocks keep all busy
  if (threads > 1 && wanted_blocks > 1) {
    rows = std::min(rows, (m + wanted_blocks - 1) / wanted_blocks);
  }
  Cut cut;
  cut.block_rows = (rows + kMaxTileRows - 1) / kMaxTileRows * kMaxTileRows;
  cut.blocks = (m + cut.block_rows - 1) / cut.block_rows;
  const int64_t panel_products = std::min(cut.block_rows, m) * kPanelWidth * k;
  const int64_t fair = panels * cut.blocks / (4 * threads);
  cut.chunk_panels = std::clamp<int64_t>(std::min(kTaskProducts / panel_products, fair), 1, panels);
  cut.chunks = (panels + cut.chunk_panels - 1) / cut.chunk_panels;
  return cut;
}

void MultiplyPanel(const KernelSet& set, const Args& args, const Activations& activations,
                   const Segment& segment, int64_t panel, int64_t row_begin, int64_t row_end) {
  const PanelFormat format = FormatOf(segment.kind);
  const int64_t feature = panel * kPanelWidth;
  const int64_t column = segment.first_feature + feature;
  TileProduct product;
  product.panel = segment.data + panel * segment.panel_bytes;
  product.groups = activations.k / format.Depth();
  product.out_stride = args.out.stride(0);
  product.columns = static_cast<int>(std::min<int64_t>(kPanelWidth, segment.features - feature));
  product.bias = args.bias.defined() ? args.bias.as<float>() + column : nullptr;
  product.accumulate = args.accumulate;
  const auto& kernels = set.product[static_cast<size_t>(segment.kind)];
  ForEachTile(row_begin, row_end, [&](int64_t row, int size) {
    if (format.IsDense()) {
      product.tile = activations.Dense(row);
      product.offsets = nullptr;
    } else {
      const QuantizedTile tile = activations.Quantized(row);
      product.tile = tile.words;
      product.offsets = tile.offsets;
    }
    product.out = args.out.as<float>() + row * product.out_stride + column;
    kernels[size](product);
  });
}

}  // namespace

bool HasPanels(const Args& args) {
  return args.weight->layout() == kPanelLayout;
}

Status RunPanels(const KernelSet& set, const OpContext& context, const Args& args) {
  const auto& weight = static_cast<const PanelWeight&>(*args.weight);
  const int64_t m = args.x.dim(0);
  if (m == 0 || weight.panels() == 0) {
    return OkStatus();
  }
  const Workspace::Scope scope(context.workspace);
  const Activations activations = PrepareActivations(set, context, args.x, weight);
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  const Cut cut = CutProduct(m, weight.k(), weight.panels(), threads.size());
  threads.ParallelFor(cut.blocks * cut.chunks, [&](int64_t task, int) {
    const int64_t row_begin = task / cut.chunks * cut.block_rows;
    const int64_t row_end = std::min(row_begin + cut.block_rows, m);
    const int64_t begin = task % cut.chunks * cut.chunk_panels;
    const int64_t end = std::min(begin + cut.chunk_panels, weight.panels());
    int64_t first = 0;  // panels before this segment
    for (const Segment& segment : weight.segments()) {
      const int64_t last = std::min(end - first, segment.panels);
      for (int64_t panel = std::max<int64_t>(begin - first, 0); panel < last; ++panel) {
        MultiplyPanel(set, args, activations, segment, panel, row_begin, row_end);
      }
      first += segment.panels;
    }
  });
  return OkStatus();
}

}  // namespace quire::ops::linear
