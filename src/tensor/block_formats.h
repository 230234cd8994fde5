// The block-quantized formats of GGUF files: their memory layout and their exact values.
//
// Source of the formats: the GGUF specification and ggml's public type definitions. Every format
// stores w = d * q + m for small integers q; blocks of 32 have one scale, super-blocks of 256 have
// sub-block scales that are themselves quantized. Halves are IEEE binary16 bit patterns,
// little-endian.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace quire {

struct BlockQ4_0 {  // w = d * (q - 8); q of element i < 16 in the low nibble of qs[i], i >= 16 in
                    // the high
  uint16_t d;
  uint8_t qs[16];
};
struct BlockQ4_1 {  // w = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
struct BlockQ5_0 {  // w = d * (q - 16); bit 4 of element i is bit i of the little-endian word qh
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ5_1 {  // w = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ8_0 {  // w = d * q
  uint16_t d;
  int8_t qs[32];
};
struct BlockQ4K {  // eight sub-blocks of 32: w = d * scale * q - dmin * min; 6-bit scales and mins
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
struct BlockQ5K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
struct BlockQ6K {  // sixteen sub-blocks of 16: w = d * scale * (q - 32)
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 &&
              sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4K) == 144 &&
              sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210);

// The 6-bit scale and min of sub-block `j` (0..7) of a Q4_K or Q5_K block.
struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};
ScaleMin UnpackScaleMinK(const uint8_t scales[12], int j);

// Integer codes and affine parameters of one row's elements, uniform over the formats: element i
// has the value scale[i / group] * (codes[i] - offset) + min[i / group].
struct GroupQuantInfo {
  int group;     // elements that share a scale: 32, or 16 for q6_k
  int bits;      // bits of a code: 4, 5, 6 or 8
  int offset;    // subtracted from a code; 0 for formats with mins. q8_0 codes are q + 128
  bool has_min;  // whether mins can be non-zero
};
GroupQuantInfo GroupInfoOf(DType dtype);

// Unpacks `elements` elements at `row` into codes [elements], scales and mins [elements / group],
// all exact in fp32. REQUIRES: a quantized dtype, whole blocks.
void UnpackGroups(DType dtype, const void* row, int64_t elements, uint8_t* codes, float* scales,
                  float* mins);

// Converts `elements` elements of any floating or quantized type to fp32, exactly as the format
// defines. REQUIRES: whole blocks.
void DequantizeRow(DType dtype, const void* row, int64_t elements, float* out);

}  // namespace quire
