#include "ops/linear/cpu/panel_product.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "ops/cpu_convert.h"
#include "ops/lanes.h"
#include "ops/linear/cpu/prepare_rows.h"
#include "platform/cpu/cpu_device.h"

namespace quire::ops::linear {

namespace {

// Activations of one block of rows should stay in a core's own cache while the panels pass.
constexpr int64_t kBlockBytes = 512 * 1024;
// More is not fetched ahead: it would displace the activations.
constexpr int64_t kFetchedBytes = 128 * 1024;
// The most multiply-adds of a task; about 100 microseconds of one core.
constexpr int64_t kTaskProducts = int64_t{16} << 20;

// How the panels of a block are cut into chunks: a batch of one for each thread, which together
// take three quarters of what is left, and so on. Long ones first let a thread stream through
// neighbouring panels, short ones last let all threads finish together (factoring; Hummel,
// Schonberg and Flynn, 1992).
class PanelCut {
 public:
  PanelCut(int64_t panels, int64_t most, int64_t step, int threads)
      : panels_(panels),
        most_(most),
        step_(step),
        threads_(threads),
        enough_(panels >= 6 * threads * step) {}

  // The chunks of the batch that begins at panel `begin`.
  int64_t ChunkAt(int64_t begin) const {
    const int64_t fair = (panels_ - begin) * 3 / (4 * threads_);
    const int64_t chunk = std::clamp<int64_t>(std::min(most_, fair), 1, panels_);
    const int64_t whole_steps = (chunk + step_ - 1) / step_ * step_;
    return whole_steps <= fair || enough_ ? whole_steps : chunk;
  }

  // Where all chunks begin, ascending, then the number of panels.
  std::span<const int64_t> Begins(Workspace& workspace) const {
    auto* begins = workspace.Allocate<int64_t>(static_cast<size_t>(panels_ + 1));
    size_t count = 0;
    int64_t chunk = 0;
    for (int64_t begin = 0; begin < panels_; begin += chunk) {
      if (count % static_cast<size_t>(threads_) == 0) {
        chunk = ChunkAt(begin);
      }
      begins[count++] = begin;
    }
    begins[count] = panels_;
    return {begins, count + 1};
  }

 private:
  int64_t panels_;
  int64_t most_;  // of a chunk
  int64_t step_;
  int threads_;
  // Fewer panels than a step are slow: the last chunks have them only if chunks would be too few.
  bool enough_;
};

// The cut of a product into tasks: blocks of rows, each with chunks of panels.
struct Cut {
  int64_t block_rows;  // a multiple of kMaxTileRows
  int64_t blocks;
  PanelCut panels;
};

Cut CutProduct(const PanelWeight& weight, int64_t m, int threads) {
  const int64_t panels = weight.panels();
  const int64_t row_bytes = weight.k() * 5 / 4 + 1;
  int64_t rows = std::clamp<int64_t>(kBlockBytes / row_bytes, 48, 4096);
  const int64_t wanted_blocks = 4 * threads / panels + 1;  // few panels: more blocks keep all busy
  if (threads > 1 && wanted_blocks > 1) {
    rows = std::min(rows, (m + wanted_blocks - 1) / wanted_blocks);
  }
  const int64_t block_rows = (rows + kMaxTileRows - 1) / kMaxTileRows * kMaxTileRows;
  int64_t step = 1;
  for (const Segment& segment : weight.segments()) {
    step = std::max<int64_t>(step, PanelsPerProduct(segment.kind));
  }
  const int64_t panel_products = std::min(block_rows, m) * kPanelWidth * weight.k();
  return {block_rows, (m + block_rows - 1) / block_rows,
          PanelCut(panels, kTaskProducts / panel_products, step, threads)};
}

// Tells each worker where it will begin in a product of `m` rows with `weight`: the calling thread
// takes the first chunk, they the next ones.
void ExpectProduct(ThreadPool& threads, const PanelWeight& weight, int64_t m) {
  const int64_t chunk = CutProduct(weight, m, threads.size()).panels.ChunkAt(0);
  for (int worker = 1; worker < threads.size(); ++worker) {
    int64_t panel = worker * chunk;
    for (const Segment& segment : weight.segments()) {
      if (panel < segment.panels) {
        const int64_t bytes = std::min(chunk, segment.panels - panel) * segment.panel_bytes;
        threads.ExpectRead(worker, segment.data + panel * segment.panel_bytes,
                           static_cast<size_t>(std::min(bytes, kFetchedBytes)));
        break;
      }
      panel -= segment.panels;
    }
  }
}

// Where a task begins nothing has been asked for yet.
void FetchFirst(const Segment& segment, int64_t panel) {
  const uint8_t* data = segment.data + panel * segment.panel_bytes;
  for (int64_t byte = 0; byte < kPrefetchDistance; byte += 64) {
    __builtin_prefetch(data + byte);
  }
}

// TileProduct::next_step for so many bytes, shared evenly among the groups of all passes.
int64_t FetchStep(int64_t bytes, int64_t groups, int64_t rows) {
  if (rows <= kStreamedRows || bytes > kFetchedBytes) {
    return 0;
  }
  const int64_t steps = (rows + kMaxTileRows - 1) / kMaxTileRows * kPasses * groups;
  return ((bytes + steps - 1) / steps + 63) / 64 * 64;
}

// A product of one call, with what its kernels read and write.
class Multiplication {
 public:
  Multiplication(const KernelSet& set, const Args& args, const ActivationTiles& tiles)
      : set_(set),
        args_(args),
        tiles_(tiles),
        bias_(args.bias.defined() ? args.bias.as<const float>() : nullptr),
        direct_(args.out.dtype() == DType::kF32),
        widen_(ConverterOf(set.isa, args.out.dtype(), DType::kF32)),
        narrow_(ConverterOf(set.isa, DType::kF32, args.out.dtype())) {}

  // Panels [begin, end) of a segment with rows [row_begin, row_end).
  void Multiply(const Segment& segment, int64_t begin, int64_t end, int64_t row_begin,
                int64_t row_end) const {
    const PanelFormat format = FormatOf(segment.kind);
    const int64_t step = PanelsPerProduct(segment.kind);
    const auto& kernels = set_.product[static_cast<size_t>(segment.kind)];
    TileProduct product{};
    product.panel_bytes = segment.panel_bytes;
    product.groups = format.GroupsOf(tiles_.k);
    product.scale_blocks = segment.scale_blocks;
    product.scale_steps = segment.scale_steps;
    product.out_stride = direct_ ? args_.out.stride(0) : kMaxPanels * kPanelWidth;
    product.accumulate = direct_ && args_.accumulate;
    if (row_end - row_begin <= kStreamedRows && begin < end) {
      FetchFirst(segment, begin);
    }
    for (int64_t panel = begin; panel < end; panel += step) {
      const int64_t count = std::min(step, end - panel);
      const int64_t feature = panel * kPanelWidth;
      const int64_t column = segment.first_feature + feature;
      product.panel = segment.data + panel * segment.panel_bytes;
      product.panels = static_cast<int>(count);
      product.scales = segment.scales + panel * segment.scale_blocks * kPanelWidth;
      product.columns = static_cast<int>(std::min(count * kPanelWidth, segment.features - feature));
      product.bias = bias_ != nullptr ? bias_ + column : nullptr;
      product.next = product.panel + count * segment.panel_bytes;
      const uint8_t* const fetched =
          product.next + std::min(step, end - panel - count) * segment.panel_bytes;
      product.next_step = FetchStep(fetched - product.next, product.groups, row_end - row_begin);
      ForEachTile(row_begin, row_end, [&](int64_t row, int size) {
        PointAt(segment.form, row, product);
        MultiplyTile(kernels[size], product, row, kTileRows[size], column);
        product.next += kPasses * product.groups * product.next_step;
        if (product.next >= fetched) {
          product.next_step = 0;
        }
      });
    }
  }

 private:
  // The tile of `row` in the form that a kernel reads.
  void PointAt(ActivationForm form, int64_t row, TileProduct& product) const {
    switch (form) {
      case ActivationForm::kFp32: product.tile = tiles_.Fp32(row); break;
      case ActivationForm::kBf16: product.tile = tiles_.Bf16(row); break;
      case ActivationForm::kRow8: product.tile = tiles_.Row8(row); break;
      case ActivationForm::kFp8: product.tile = tiles_.Fp8(row); break;
      case ActivationForm::kBlock8: {
        const QuantizedTile tile = tiles_.Block8(row);
        product.tile = tile.words;
        product.offsets = tile.offsets;
        break;
      }
    }
  }

  void MultiplyTile(TileKernel kernel, TileProduct& product, int64_t row, int rows,
                    int64_t column) const {
    if (direct_) {
      product.out = static_cast<float*>(args_.out.data()) + row * product.out_stride + column;
      return kernel(product);
    }
    float values[kMaxTileRows * kMaxPanels * kPanelWidth];
    product.out = values;
    kernel(product);
    StoreRows(values, rows, row, column, product.columns);
  }

  // Rounds fp32 results into out, after adding what is there if that is wanted.
  void StoreRows(float* rows, int count, int64_t row, int64_t column, int64_t columns) const {
    constexpr int64_t kStride = kMaxPanels * kPanelWidth;
    const DType dtype = args_.out.dtype();
    for (int r = 0; r < count; ++r) {
      float* values = rows + r * kStride;
      void* out = static_cast<uint8_t*>(args_.out.data()) +
                  BytesOf(dtype, (row + r) * args_.out.stride(0) + column);
      if (args_.accumulate) {
        float before[kStride];
        widen_(out, columns, before);
        for (int64_t i = 0; i < columns; ++i) {
          values[i] = before[i] + values[i];
        }
      }
      narrow_(values, columns, out);
    }
  }

  const KernelSet& set_;
  const Args& args_;
  const ActivationTiles& tiles_;
  const float* bias_;
  bool direct_;  // the kernels write to out
  ConvertFunction widen_;
  ConvertFunction narrow_;
};

// largest[i]: of `row` [n], the features [16 i, 16 i + 16) of a segment; NaN is less than all.
void FindPanelLargest(const Segment& segment, const float* row, float* largest) {
  using Vector = Lanes<kBaselineLanes>::Float;
  const float* values = row + segment.first_feature;
  const float* const end = values + segment.features;
  for (int64_t panel = 0; panel < segment.panels; ++panel) {
    const float* const panel_end = std::min(values + kPanelWidth, end);
    Vector most = Vector{} - std::numeric_limits<float>::infinity();
    Vector v;
    for (; values + kBaselineLanes <= panel_end; values += kBaselineLanes) {
      Load(values, v);
      most = v > most ? v : most;
    }
    largest[panel] = MaxLane<kBaselineLanes>(most);
    for (; values < panel_end; ++values) {
      largest[panel] = *values > largest[panel] ? *values : largest[panel];
    }
  }
}

// RunPanels() with args.near_largest: row by row, since each has other panels.
class NearLargest {
 public:
  NearLargest(const KernelSet& set, const OpContext& context, const Args& args)
      : set_(set), args_(args), weight_(static_cast<const PanelWeight&>(*args.weight)) {
    const int64_t m = args.x.dim(0);
    tiles_ = context.workspace.Allocate<ActivationTiles>(static_cast<size_t>(m));
    for (int64_t row = 0; row < m; ++row) {
      tiles_[row] = PrepareActivations(set, context, args.x.Rows(row, row + 1), weight_);
    }
    largest_ = context.workspace.Allocate<float>(static_cast<size_t>(m * weight_.panels()));
  }

  void Run(int64_t row) const {
    Args args = args_;
    args.out = args_.out.Rows(row, row + 1);
    float* const largest = largest_ + row * weight_.panels();
    float* next = largest;
    for (const Segment& segment : weight_.segments()) {
      FindPanelLargest(segment, args.out.as<const float>(), next);
      next += segment.panels;
    }
    const float least = *std::max_element(largest, next) - args.near_largest;
    const Multiplication multiplication(set_, args, tiles_[row]);
    next = largest;
    for (const Segment& segment : weight_.segments()) {
      for (int64_t panel = 0; panel < segment.panels; ++panel) {
        if (*next++ >= least) {
          multiplication.Multiply(segment, panel, panel + 1, 0, 1);
        }
      }
    }
  }

 private:
  const KernelSet& set_;
  const Args& args_;
  const PanelWeight& weight_;
  ActivationTiles* tiles_;  // [M], of a row each
  float* largest_;          // [M, panels]
};

}  // namespace

bool HasPanels(const Args& args) {
  return args.weight->layout() == kPanelLayout && !IsFused(args);
}

Status RunPanels(const KernelSet& set, const OpContext& context, const Args& args) {
  const auto& weight = static_cast<const PanelWeight&>(*args.weight);
  const int64_t m = args.x.dim(0);
  if (m == 0 || weight.panels() == 0) {
    return OkStatus();
  }
  if (m <= kStreamedRows) {
    FetchFirst(weight.segments()[0], 0);
  }
  const Workspace::Scope scope(context.workspace);
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  if (std::isfinite(args.near_largest)) {
    const NearLargest product(set, context, args);
    threads.ParallelFor(m, [&](int64_t row, int) { product.Run(row); });
    return OkStatus();
  }
  const ActivationTiles tiles = PrepareActivations(set, context, args.x, weight);
  const Multiplication multiplication(set, args, tiles);
  const Cut cut = CutProduct(weight, m, threads.size());
  const std::span<const int64_t> begins = cut.panels.Begins(context.workspace);
  const auto chunks = static_cast<int64_t>(begins.size()) - 1;
  if (m <= kStreamedRows && args.next != nullptr && args.next->layout() == kPanelLayout) {
    ExpectProduct(threads, static_cast<const PanelWeight&>(*args.next), m);
  }
  threads.ParallelFor(cut.blocks * chunks, [&](int64_t task, int) {
    const int64_t row_begin = task / chunks * cut.block_rows;
    const int64_t row_end = std::min(row_begin + cut.block_rows, m);
    const auto chunk = static_cast<size_t>(task % chunks);
    const int64_t begin = begins[chunk];
    const int64_t end = begins[chunk + 1];
    int64_t first = 0;  // panels before this segment
    for (const Segment& segment : weight.segments()) {
      const int64_t last = std::min(end - first, segment.panels);
      const int64_t panel = std::max<int64_t>(begin - first, 0);
      multiplication.Multiply(segment, panel, last, row_begin, row_end);
      first += segment.panels;
    }
  });
  return OkStatus();
}

}  // namespace quire::ops::linear
