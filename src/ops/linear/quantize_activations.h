// Activations as the panel kernels read them: tiles of 1 to 12 rows, interleaved so that a kernel
// walks one pointer.
//
// Quantized (kBlock8): each group of 32 features of a row becomes 8-bit codes with one fp32 scale,
//   scale = max|x| / 127,  code = round_half_even(x * (127 / max|x|)).
// A group whose maximum is below 2^-100 counts as zero; one that holds a NaN or infinity gets a NaN
// scale, so that the damage shows in the output. Every implementation makes the same bits.
//
// Rounded to 8-bit floats (kFp8): groups of 128, the last may be shorter, with 448, the largest
// f8e4m3, in place of 127 and codes of that type.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "ops/linear/packed_blocks.h"

namespace quire::ops::linear {

// A group of a tile of `rows` rows is, in 32-bit words, each [rows] innermost:
//   codes [8][rows] (4 features a word), scale [rows] f32, scale * sum of codes [rows] f32.
inline constexpr int kTileWordsPerRow = 10;
// Beside it, for weights whose codes have an offset, what the offset contributes to the integer
// product (times -1): offset 8, then offset 128 over features 0..15, 16..31 and all of the group;
// int32 [4][rows].
inline constexpr int kOffsetWordsPerRow = 4;

struct QuantizedTile {
  uint8_t* words;    // [groups][kTileWordsPerRow][rows] 32-bit words
  int32_t* offsets;  // [groups][kOffsetWordsPerRow][rows]
};

// What quantization needs to know of the largest magnitude of a group.
struct GroupScale {
  float scale;
  float inverse;
};
inline GroupScale ScaleOf(uint32_t max_magnitude_bits, float largest_code = 127.0f) {
  if (max_magnitude_bits >= 0x7f800000) {
    return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  }
  const float max_magnitude = std::bit_cast<float>(max_magnitude_bits);
  if (max_magnitude < 0x1p-100f) {
    return {0.0f, 0.0f};
  }
  return {max_magnitude / largest_code, largest_code / max_magnitude};
}

// Stores one group of row `r` of a tile of `rows` rows from its codes and the sums of the halves.
inline void StoreGroup(const int8_t codes[kGroup], float scale, int32_t low_sum, int32_t high_sum,
                       int64_t group, int rows, int r, const QuantizedTile& tile) {
  uint8_t* words = tile.words + (group * kTileWordsPerRow * rows + r) * 4;
  for (int j = 0; j < kGroup / 4; ++j) {
    std::memcpy(words + static_cast<int64_t>(j) * rows * 4, codes + 4 * j, 4);
  }
  const int32_t sum = low_sum + high_sum;
  const float scaled_sum = scale * static_cast<float>(sum);
  std::memcpy(words + static_cast<int64_t>(8) * rows * 4, &scale, 4);
  std::memcpy(words + static_cast<int64_t>(9) * rows * 4, &scaled_sum, 4);
  int32_t* offsets = tile.offsets + group * kOffsetWordsPerRow * rows + r;
  offsets[0] = -8 * sum;
  offsets[rows] = -128 * low_sum;
  offsets[2 * rows] = -128 * high_sum;
  offsets[3 * rows] = -128 * sum;
}

// Quantizes `rows` rows of x, `stride` elements apart, into a tile, in plain C++.
void QuantizeTile(const float* x, int64_t stride, int64_t groups, int rows,
                  const QuantizedTile& tile);

inline constexpr int64_t kFp8Group = 128;

// out [k] = x [k] rounded to 8-bit floats in groups of kFp8Group. They may be the same.
void RoundToFp8(const float* x, int64_t k, float* out);

}  // namespace quire::ops::linear
