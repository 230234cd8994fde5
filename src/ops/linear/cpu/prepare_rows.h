// The rows of x as the tiles that the kernels read (panel_product.h).
#pragma once

#include "ops/linear/cpu/panel_product.h"

namespace quire::ops::linear {

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

// All rows of x in tiles, in each of the forms that the segments of a weight need. Row t's share of
// a form's memory starts at t * (bytes of a row), whatever the tiles are.
struct ActivationTiles {
  int64_t k = 0;
  uint8_t* fp32 = nullptr;
  uint8_t* bf16 = nullptr;
  uint8_t* block8 = nullptr;
  int32_t* block8_offsets = nullptr;
  uint8_t* row8 = nullptr;
  uint8_t* fp8 = nullptr;
  int64_t bf16_row_bytes = 0;

  bool IsBf16Alone() const {
    return fp32 == nullptr && block8 == nullptr && row8 == nullptr && fp8 == nullptr;
  }
  int64_t groups() const { return k / kGroup; }
  int64_t padded() const { return k + k % 2; }
  int64_t row8_words() const { return (k + 3) / 4 + 2; }

  QuantizedTile Block8(int64_t row) const {
    return {block8 + row * groups() * kTileWordsPerRow * 4,
            block8_offsets + row * groups() * kOffsetWordsPerRow};
  }
  uint8_t* Fp32(int64_t row) const { return fp32 + row * padded() * 4; }
  uint8_t* Bf16(int64_t row) const { return bf16 + row * bf16_row_bytes; }
  uint8_t* Row8(int64_t row) const { return row8 + row * row8_words() * 4; }
  uint8_t* Fp8(int64_t row) const { return fp8 + row * padded() * 4; }
};

// Fills tiles for all rows of x, in the context's workspace and on its threads.
ActivationTiles PrepareActivations(const KernelSet& set, const OpContext& context,
                                   const TensorView& x, const PanelWeight& weight);

}  // namespace quire::ops::linear
