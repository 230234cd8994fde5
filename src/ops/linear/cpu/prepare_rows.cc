#include "ops/linear/cpu/prepare_rows.h"

#include <algorithm>
#include <cstring>

#include "ops/cpu_convert.h"
#include "ops/lanes.h"
#include "platform/cpu/cpu_device.h"

namespace quire::ops::linear {

namespace {

// Elements below which a second parallel region costs more than it saves.
constexpr int64_t kSerialElements = 8192;

// What one thread needs beside the tiles.
struct Scratch {
  float* rows;    // [kMaxTileRows][padded]
  float* staged;  // [kMaxTileRows][padded]
};

// A square of 4 words by 4 rows: out[word * width + row] = in[row * stride + word].
void Transpose(const uint8_t* in, int64_t stride, int64_t width, uint8_t* out) {
  using Words = Lanes<4>::Uint;
  Words row[4];
  for (int r = 0; r < 4; ++r) {
    std::memcpy(&row[r], in + r * stride * 4, sizeof(Words));
  }
  const Words low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  const Words low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  const Words high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  const Words high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  const Words column[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                           __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                           __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                           __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) {
    std::memcpy(out + i * width * 4, &column[i], sizeof(Words));
  }
}

// out[word][row] = in[row * stride + word]
template <int kRows>
void Interleave(const uint8_t* in, int64_t stride, int64_t words, uint8_t* tile) {
  const int64_t squares = kRows % 4 == 0 ? words / 4 * 4 : 0;
  for (int64_t i = 0; i < squares; i += 4) {
    for (int r = 0; r < kRows; r += 4) {
      Transpose(in + (r * stride + i) * 4, stride, kRows, tile + (i * kRows + r) * 4);
    }
  }
  for (int64_t i = squares; i < words; ++i) {
    for (int r = 0; r < kRows; ++r) {
      std::memcpy(tile + (i * kRows + r) * 4, in + (r * stride + i) * 4, 4);
    }
  }
}

void InterleaveWords(const void* rows, int64_t stride, int64_t words, int count, uint8_t* tile) {
  const auto* in = static_cast<const uint8_t*>(rows);
  switch (count) {
    case 1: return Interleave<1>(in, stride, words, tile);
    case 2: return Interleave<2>(in, stride, words, tile);
    case 3: return Interleave<3>(in, stride, words, tile);
    case 4: return Interleave<4>(in, stride, words, tile);
    case 8: return Interleave<8>(in, stride, words, tile);
    default: return Interleave<kMaxTileRows>(in, stride, words, tile);
  }
}

class RowPreparer {
 public:
  RowPreparer(const KernelSet& set, const TensorView& x, const PanelWeight& weight,
              const ActivationTiles& tiles)
      : set_(set),
        x_(x),
        order_(weight.input_order()),
        tiles_(tiles),
        only_bf16_(set.bf16_products && x.dtype() == DType::kBF16 && tiles.IsBf16Alone() &&
                   order_.empty() && tiles.k % 2 == 0 && x.stride(0) % 2 == 0),
        widen_(ConverterOf(set.isa, x.dtype(), DType::kF32)),
        round_(ConverterOf(set.isa, DType::kF32, DType::kBF16)),
        unround_(ConverterOf(set.isa, DType::kBF16, DType::kF32)) {}

  void Prepare(int64_t begin, int64_t end, const Scratch& scratch) const {
    ForEachTile(begin, end, [&](int64_t row, int size) {
      const int rows = kTileRows[size];
      if (only_bf16_) {
        const auto* halves = x_.as<const uint16_t>() + row * x_.stride(0);
        InterleaveWords(halves, x_.stride(0) / 2, tiles_.k / 2, rows, tiles_.Bf16(row));
        return;
      }
      int64_t stride = tiles_.padded();
      const float* in = scratch.rows;
      if (x_.dtype() == DType::kF32 && order_.empty()) {
        stride = x_.stride(0);
        in = x_.as<const float>() + row * stride;
      } else {
        Widen(row, rows, scratch);
      }
      if (tiles_.block8 != nullptr) {
        set_.quantize(in, stride, tiles_.groups(), rows, tiles_.Block8(row));
      }
      if (tiles_.fp32 != nullptr) {
        StoreFp32(in, stride, rows, tiles_.Fp32(row));
      }
      if (tiles_.row8 != nullptr) {
        StoreRow8(in, stride, rows, scratch, tiles_.Row8(row));
      }
      if (tiles_.fp8 != nullptr) {
        StoreFp8(in, stride, rows, scratch, tiles_.Fp8(row));
      }
      if (tiles_.bf16 != nullptr) {  // last: it may overwrite scratch.rows
        StoreBf16(in, stride, rows, scratch, tiles_.Bf16(row));
      }
    });
  }

 private:
  // Rows of x in fp32 and in the order of the panels.
  void Widen(int64_t first, int rows, const Scratch& scratch) const {
    const int64_t row_bytes = BytesOf(x_.dtype(), x_.stride(0));
    for (int r = 0; r < rows; ++r) {
      const auto* in = static_cast<const uint8_t*>(x_.data()) + (first + r) * row_bytes;
      float* out = scratch.rows + r * tiles_.padded();
      if (order_.empty()) {
        widen_(in, tiles_.k, out);
        continue;
      }
      widen_(in, tiles_.k, scratch.staged);
      for (int64_t i = 0; i < tiles_.k; ++i) {
        out[i] = scratch.staged[order_[static_cast<size_t>(i)]];
      }
    }
  }

  void StoreFp32(const float* in, int64_t stride, int rows, uint8_t* tile) const {
    InterleaveWords(in, stride, tiles_.k, rows, tile);
    std::memset(tile + tiles_.k * rows * 4, 0,
                static_cast<size_t>((tiles_.padded() - tiles_.k) * rows) * 4);
  }

  void StoreBf16(const float* in, int64_t stride, int rows, const Scratch& scratch,
                 uint8_t* tile) const {
    const int64_t padded = tiles_.padded();
    auto* halves = reinterpret_cast<uint16_t*>(scratch.staged);
    if (set_.bf16_products) {
      for (int r = 0; r < rows; ++r) {
        halves[(r + 1) * padded - 1] = 0;
        round_(in + r * stride, tiles_.k, halves + r * padded);
      }
      return InterleaveWords(halves, padded / 2, padded / 2, rows, tile);
    }
    for (int r = 0; r < rows; ++r) {
      round_(in + r * stride, tiles_.k, halves);
      unround_(halves, tiles_.k, scratch.rows + r * padded);
    }
    StoreFp32(scratch.rows, padded, rows, tile);
  }

  void StoreFp8(const float* in, int64_t stride, int rows, const Scratch& scratch,
                uint8_t* tile) const {
    const int64_t padded = tiles_.padded();
    for (int r = 0; r < rows; ++r) {
      RoundToFp8(in + r * stride, tiles_.k, scratch.staged + r * padded);
    }
    StoreFp32(scratch.staged, padded, rows, tile);
  }

  void StoreRow8(const float* in, int64_t stride, int rows, const Scratch& scratch,
                 uint8_t* tile) const {
    const int64_t words = tiles_.row8_words();
    auto* codes = reinterpret_cast<int8_t*>(scratch.staged);
    for (int r = 0; r < rows; ++r) {
      int8_t* row = codes + r * words * 4;
      std::memset(row + (words - 3) * 4, 0, 4);
      const RowScale scale = set_.quantize_row(in + r * stride, tiles_.k, row);
      const int32_t offset = -128 * scale.sum;
      std::memcpy(row + (words - 2) * 4, &scale.scale, 4);
      std::memcpy(row + (words - 1) * 4, &offset, 4);
    }
    InterleaveWords(codes, words, words, rows, tile);
  }

  const KernelSet& set_;
  const TensorView& x_;
  std::span<const int32_t> order_;
  const ActivationTiles& tiles_;
  bool only_bf16_;  // x is already what the products read
  ConvertFunction widen_;
  ConvertFunction round_;
  ConvertFunction unround_;
};

}  // namespace

ActivationTiles PrepareActivations(const KernelSet& set, const OpContext& context,
                                   const TensorView& x, const PanelWeight& weight) {
  Workspace& workspace = context.workspace;
  const int64_t m = x.dim(0);
  const auto rows = static_cast<size_t>(m);
  ActivationTiles tiles;
  tiles.k = weight.k();
  const auto padded = static_cast<size_t>(tiles.padded());
  tiles.bf16_row_bytes = tiles.padded() * (set.bf16_products ? 2 : 4);
  if (weight.Wants(ActivationForm::kBlock8)) {
    const auto groups = rows * static_cast<size_t>(tiles.groups());
    tiles.block8 = workspace.Allocate<uint8_t>(groups * kTileWordsPerRow * 4);
    tiles.block8_offsets = workspace.Allocate<int32_t>(groups * kOffsetWordsPerRow);
  }
  if (weight.Wants(ActivationForm::kFp32)) {
    tiles.fp32 = workspace.Allocate<uint8_t>(rows * padded * 4);
  }
  if (weight.Wants(ActivationForm::kBf16)) {
    tiles.bf16 = workspace.Allocate<uint8_t>(rows * static_cast<size_t>(tiles.bf16_row_bytes));
  }
  if (weight.Wants(ActivationForm::kRow8)) {
    tiles.row8 = workspace.Allocate<uint8_t>(rows * static_cast<size_t>(tiles.row8_words()) * 4);
  }
  if (weight.Wants(ActivationForm::kFp8)) {
    tiles.fp8 = workspace.Allocate<uint8_t>(rows * padded * 4);
  }
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  const size_t staged = kMaxTileRows * (padded + 2 * 4);
  const auto workers = static_cast<size_t>(threads.size());
  float* const scratch = workspace.Allocate<float>(2 * staged * workers);
  const auto scratch_of = [&](int worker) {
    float* const own = scratch + 2 * staged * static_cast<size_t>(worker);
    return Scratch{own, own + staged};
  };
  const RowPreparer preparer(set, x, weight, tiles);
  if (m * weight.k() <= kSerialElements) {
    preparer.Prepare(0, m, scratch_of(0));
    return tiles;
  }
  threads.ParallelFor((m + kMaxTileRows - 1) / kMaxTileRows, [&](int64_t task, int worker) {
    const int64_t row = task * kMaxTileRows;
    preparer.Prepare(row, std::min(row + kMaxTileRows, m), scratch_of(worker));
  });
  return tiles;
}

}  // namespace quire::ops::linear
