#include "tensor/block_formats.h"

#include <cstring>

#include "base/check.h"
#include "tensor/element.h"

namespace quire {

namespace {

constexpr int kBlock = 32;        // elements of a q4_0 .. q8_0 block
constexpr int kSuperBlock = 256;  // elements of a q4_k .. q6_k block

// Each Unpack fills codes [block elements], scales and mins [block elements / group]. Scales are
// products of a half and a small integer, so they have at most 18 significant bits and fp32 holds
// them exactly.

void UnpackNibbles(const uint8_t qs[16], uint8_t* codes) {
  for (int i = 0; i < kBlock / 2; ++i) {
    codes[i] = qs[i] & 0x0f;
    codes[i + kBlock / 2] = qs[i] >> 4;
  }
}

void AddFifthBits(const uint8_t qh[4], uint8_t* codes) {
  for (int i = 0; i < kBlock; ++i) {
    codes[i] |= ((qh[i / 8] >> (i % 8)) & 1) << 4;
  }
}

void Unpack(const BlockQ4_0& block, uint8_t* codes, float* scales, float* mins) {
  UnpackNibbles(block.qs, codes);
  scales[0] = HalfToFloat(block.d);
  mins[0] = 0;
}

void Unpack(const BlockQ4_1& block, uint8_t* codes, float* scales, float* mins) {
  UnpackNibbles(block.qs, codes);
  scales[0] = HalfToFloat(block.d);
  mins[0] = HalfToFloat(block.m);
}

void Unpack(const BlockQ5_0& block, uint8_t* codes, float* scales, float* mins) {
  UnpackNibbles(block.qs, codes);
  AddFifthBits(block.qh, codes);
  scales[0] = HalfToFloat(block.d);
  mins[0] = 0;
}

void Unpack(const BlockQ5_1& block, uint8_t* codes, float* scales, float* mins) {
  UnpackNibbles(block.qs, codes);
  AddFifthBits(block.qh, codes);
  scales[0] = HalfToFloat(block.d);
  mins[0] = HalfToFloat(block.m);
}

void Unpack(const BlockQ8_0& block, uint8_t* codes, float* scales, float* mins) {
  for (int i = 0; i < kBlock; ++i) {
    codes[i] = static_cast<uint8_t>(block.qs[i] + 128);
  }
  scales[0] = HalfToFloat(block.d);
  mins[0] = 0;
}

template <typename Block>
void UnpackScalesK(const Block& block, float* scales, float* mins) {
  const float d = HalfToFloat(block.d);
  const float dmin = HalfToFloat(block.dmin);
  for (int j = 0; j < kSuperBlock / 32; ++j) {
    const ScaleMin packed = UnpackScaleMinK(block.scales, j);
    scales[j] = d * packed.scale;
    mins[j] = -(dmin * packed.min);
  }
}

// Sub-blocks 2p and 2p + 1 share the bytes qs[32p .. 32p + 31]: low nibbles, then high nibbles.
void UnpackNibblesK(const uint8_t qs[128], uint8_t* codes) {
  for (int pair = 0; pair < kSuperBlock / 64; ++pair) {
    for (int i = 0; i < 32; ++i) {
      codes[64 * pair + i] = qs[32 * pair + i] & 0x0f;
      codes[64 * pair + 32 + i] = qs[32 * pair + i] >> 4;
    }
  }
}

void Unpack(const BlockQ4K& block, uint8_t* codes, float* scales, float* mins) {
  UnpackNibblesK(block.qs, codes);
  UnpackScalesK(block, scales, mins);
}

void Unpack(const BlockQ5K& block, uint8_t* codes, float* scales, float* mins) {
  UnpackNibblesK(block.qs, codes);
  for (int j = 0; j < kSuperBlock / 32;
       ++j) {  // bit j of qh[i] is the fifth bit of element i of sub-block j
    for (int i = 0; i < 32; ++i) {
      codes[32 * j + i] |= ((block.qh[i] >> j) & 1) << 4;
    }
  }
  UnpackScalesK(block, scales, mins);
}

// Each half of 128 elements is four runs of 32; run r takes its low bits from nibble r / 2 of
// ql[32 * (r % 2) + i] and its high bits from bits 2r and 2r + 1 of qh[i].
void Unpack(const BlockQ6K& block, uint8_t* codes, float* scales, float* mins) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = block.ql + 64 * half;
    const uint8_t* qh = block.qh + 32 * half;
    for (int run = 0; run < 4; ++run) {
      uint8_t* out = codes + 128 * half + 32 * run;
      for (int i = 0; i < 32; ++i) {
        const int low = (ql[32 * (run % 2) + i] >> (4 * (run / 2))) & 0x0f;
        const int high = (qh[i] >> (2 * run)) & 3;
        out[i] = static_cast<uint8_t>(low | high << 4);
      }
    }
  }
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < kSuperBlock / 16; ++j) {
    scales[j] = d * block.scales[j];
    mins[j] = 0;
  }
}

template <typename Block, int kElements, int kGroup>
void UnpackRow(const void* row, int64_t elements, uint8_t* codes, float* scales, float* mins) {
  const auto* blocks = static_cast<const Block*>(row);
  for (int64_t b = 0; b < elements / kElements; ++b) {
    constexpr int kGroups = kElements / kGroup;
    Unpack(blocks[b], codes + b * kElements, scales + b * kGroups, mins + b * kGroups);
  }
}

template <typename Block, int kElements, int kGroup, int kOffset>
void DequantizeBlocks(const void* row, int64_t elements, float* out) {
  const auto* blocks = static_cast<const Block*>(row);
  uint8_t codes[kElements];
  float scales[kElements / kGroup];
  float mins[kElements / kGroup];
  for (int64_t b = 0; b < elements / kElements; ++b) {
    Unpack(blocks[b], codes, scales, mins);
    for (int group = 0; group < kElements / kGroup; ++group) {
      for (int i = group * kGroup; i < (group + 1) * kGroup; ++i) {
        out[b * kElements + i] =
            scales[group] * static_cast<float>(codes[i] - kOffset) + mins[group];
      }
    }
  }
}

template <typename Element>
void ConvertRow(const void* row, int64_t elements, float* out) {
  const auto* in = static_cast<const Element*>(row);
  for (int64_t i = 0; i < elements; ++i) {
    out[i] = ToFloat(in[i]);
  }
}

void CheckWholeBlocks(DType dtype, int64_t elements) {
  QUIRE_CHECK(elements >= 0 && elements % InfoOf(dtype).block_elements == 0)
      << elements << " elements of " << InfoOf(dtype).name;
}

}  // namespace

ScaleMin UnpackScaleMinK(const uint8_t scales[12], int j) {
  if (j < 4) {
    return {static_cast<uint8_t>(scales[j] & 0x3f), static_cast<uint8_t>(scales[j + 4] & 0x3f)};
  }
  // The lower four bits share byte j + 4; the upper two are the spare bits of the first eight
  // bytes.
  return {static_cast<uint8_t>((scales[j + 4] & 0x0f) | (scales[j - 4] >> 6) << 4),
          static_cast<uint8_t>((scales[j + 4] >> 4) | (scales[j] >> 6) << 4)};
}

GroupQuantInfo GroupInfoOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0: return {32, 4, 8, false};
    case DType::kQ4_1: return {32, 4, 0, true};
    case DType::kQ5_0: return {32, 5, 16, false};
    case DType::kQ5_1: return {32, 5, 0, true};
    case DType::kQ8_0: return {32, 8, 128, false};
    case DType::kQ4_K: return {32, 4, 0, true};
    case DType::kQ5_K: return {32, 5, 0, true};
    case DType::kQ6_K: return {16, 6, 32, false};
    default: break;
  }
  QUIRE_CHECK(false) << "not a quantized type: " << InfoOf(dtype).name;
  return {};
}

void UnpackGroups(DType dtype, const void* row, int64_t elements, uint8_t* codes, float* scales,
                  float* mins) {
  CheckWholeBlocks(dtype, elements);
  switch (dtype) {
    case DType::kQ4_0: return UnpackRow<BlockQ4_0, 32, 32>(row, elements, codes, scales, mins);
    case DType::kQ4_1: return UnpackRow<BlockQ4_1, 32, 32>(row, elements, codes, scales, mins);
    case DType::kQ5_0: return UnpackRow<BlockQ5_0, 32, 32>(row, elements, codes, scales, mins);
    case DType::kQ5_1: return UnpackRow<BlockQ5_1, 32, 32>(row, elements, codes, scales, mins);
    case DType::kQ8_0: return UnpackRow<BlockQ8_0, 32, 32>(row, elements, codes, scales, mins);
    case DType::kQ4_K: return UnpackRow<BlockQ4K, 256, 32>(row, elements, codes, scales, mins);
    case DType::kQ5_K: return UnpackRow<BlockQ5K, 256, 32>(row, elements, codes, scales, mins);
    case DType::kQ6_K: return UnpackRow<BlockQ6K, 256, 16>(row, elements, codes, scales, mins);
    default: break;
  }
  QUIRE_CHECK(false) << "not a quantized type: " << InfoOf(dtype).name;
}

void DequantizeRow(DType dtype, const void* row, int64_t elements, float* out) {
  CheckWholeBlocks(dtype, elements);
  switch (dtype) {
    case DType::kF32: std::memcpy(out, row, static_cast<size_t>(elements) * sizeof(float)); return;
    case DType::kF16: return ConvertRow<Half>(row, elements, out);
    case DType::kBF16: return ConvertRow<BFloat16>(row, elements, out);
    case DType::kF8E4M3: return ConvertRow<Float8>(row, elements, out);
    case DType::kQ4_0: return DequantizeBlocks<BlockQ4_0, 32, 32, 8>(row, elements, out);
    case DType::kQ4_1: return DequantizeBlocks<BlockQ4_1, 32, 32, 0>(row, elements, out);
    case DType::kQ5_0: return DequantizeBlocks<BlockQ5_0, 32, 32, 16>(row, elements, out);
    case DType::kQ5_1: return DequantizeBlocks<BlockQ5_1, 32, 32, 0>(row, elements, out);
    case DType::kQ8_0: return DequantizeBlocks<BlockQ8_0, 32, 32, 128>(row, elements, out);
    case DType::kQ4_K: return DequantizeBlocks<BlockQ4K, 256, 32, 0>(row, elements, out);
    case DType::kQ5_K: return DequantizeBlocks<BlockQ5K, 256, 32, 0>(row, elements, out);
    case DType::kQ6_K: return DequantizeBlocks<BlockQ6K, 256, 16, 32>(row, elements, out);
    default: break;
  }
  QUIRE_CHECK(false) << "not a floating or quantized type: " << InfoOf(dtype).name;
}

}  // namespace quire
