// Device code: from packed weights (cuda_layout.h) to fragments, and the scales of their groups.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "ops/linear/cuda/cuda_layout.h"

namespace quire::ops::linear {

struct ScaleMin2 {
  float scale0;  // of elements 0 .. 15 of the group, or of all
  float scale1;  // of elements 16 .. 31
  float min;
};

__device__ inline __nv_bfloat162 AsBf162(uint32_t bits) {
  __nv_bfloat162 value;
  memcpy(&value, &bits, sizeof(bits));
  return value;
}
__device__ inline uint32_t BitsOf(__nv_bfloat162 value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
__device__ inline float HalfBits(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

// Two bf16 from nibbles 0 and 4 of `word`: 128 + code by its bits, then minus 128 + offset. lop3
// 0xea is (a & b) | c, 0x6a below (a & b) ^ c: one instruction, where the compiler makes two of two
// constants.
__device__ inline uint32_t NibblePair(uint32_t word, uint32_t minus) {
  uint32_t above_128;
  asm("lop3.b32 %0, %1, 0x000f000f, 0x43004300, 0xea;" : "=r"(above_128) : "r"(word));
  return BitsOf(__hadd2(AsBf162(above_128), AsBf162(minus)));
}

// Two bf16 from two bytes in the low halves of `bytes` (0x00BB00AA), as int8 with a flipped sign
// bit: 128 + the low seven bits, minus 128 or, for negative codes, 256.
__device__ inline uint32_t BytePair(uint32_t bytes) {
  uint32_t above_128;
  uint32_t minus;
  asm("lop3.b32 %0, %1, 0x007f007f, 0x43004300, 0xea;" : "=r"(above_128) : "r"(bytes));
  asm("lop3.b32 %0, %1, 0x00800080, 0xc380c380, 0x6a;" : "=r"(minus) : "r"(bytes));
  return BitsOf(__hadd2(AsBf162(above_128), AsBf162(minus)));
}

// Two bf16 from two f8e4m3 in the high halves of `bytes` (0xBB00AA00), exactly: the exponent is
// moved by a product with 2^120.
__device__ inline uint32_t Float8Pair(uint32_t bytes) {
  const uint32_t moved = ((bytes >> 4) & 0x07f007f0u) | (bytes & 0x80008000u);
  return BitsOf(__hmul2(AsBf162(moved), AsBf162(0x7b807b80u)));
}

// The 8 elements that a lane has of a group of 32, as four pairs of bf16, from its bytes in the
// span: `words` for 4-bit codes one word, else two.
template <DeviceKind kKind>
__device__ inline void DecodeEight(const uint32_t* words, uint32_t (&pairs)[4]) {
  if constexpr (IsU4(kKind)) {
    constexpr uint32_t kMinus = kKind == DeviceKind::kU4Half ? 0xc308c308u : 0xc300c300u;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = NibblePair(words[0] >> (4 * i), kMinus);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      constexpr uint32_t kLow[2] = {0x4140u, 0x4342u};   // (0, byte 1, 0, byte 0), (.. 3, .. 2)
      constexpr uint32_t kHigh[2] = {0x1404u, 0x3424u};  // (byte 1, 0, byte 0, 0), ...
      if constexpr (kKind == DeviceKind::kF8) {
        pairs[i] = Float8Pair(__byte_perm(words[i / 2], 0, kHigh[i % 2]));
      } else {
        pairs[i] = BytePair(__byte_perm(words[i / 2], 0, kLow[i % 2]));
      }
    }
  }
}

// Where a row's arrays begin.
struct RowPointers {
  const uint8_t* data;
  const uint8_t* scales;
  const uint32_t* super;
};

template <DeviceKind kKind>
__device__ inline RowPointers PointersOf(const DeviceSegment& w, int64_t row) {
  constexpr int kBlockBytes = kKind == DeviceKind::kU4FloatMin ? 8 : 4;
  const int64_t scale_bytes =
      HasScaleBlocks(kKind) ? w.scale_blocks * kBlockBytes : w.spans * SpanScaleBytes(kKind);
  return {w.data + row * w.RowBytes(), w.scales + row * scale_bytes,
          w.super + row * w.SuperCount()};
}

// The scales of a span of one row, in registers.
template <DeviceKind kKind>
struct SpanScales {
  static constexpr int kWords = SpanScaleBytes(kKind) / 4;
  uint32_t words[kWords > 0 ? kWords : 1];
  uint32_t super;  // or, of f8 and i8, the scale itself

  __device__ void Load(const DeviceSegment& w, const RowPointers& row, int span) {
    if constexpr (kWords > 0) {
      const auto* from = reinterpret_cast<const uint2*>(row.scales) + span * (kWords / 2);
#pragma unroll
      for (int i = 0; i < kWords / 2; ++i) {
        const uint2 two = __ldg(from + i);
        words[2 * i] = two.x;
        words[2 * i + 1] = two.y;
      }
    }
    if constexpr (HasSuper(kKind)) {
      super = __ldg(row.super + span * SpanOf(kKind) / 256);
    }
    if constexpr (kKind == DeviceKind::kF8 || kKind == DeviceKind::kI8) {
      const int block = w.scale_blocks == 1 ? 0 : span;
      super = __ldg(reinterpret_cast<const uint32_t*>(row.scales) + block);
    }
  }

  // Of group `group` (of 32) of the span. REQUIRES: a constant after unrolling.
  __device__ ScaleMin2 At(const DeviceSegment& w, const RowPointers& row, int span,
                          int group) const {
    if constexpr (kKind == DeviceKind::kU4FloatMin) {
      const int block = min((span * SpanOf(kKind) + group * 32) >> w.scale_shift,
                            static_cast<int>(w.scale_blocks) - 1);
      const float2 pair = __ldg(reinterpret_cast<const float2*>(row.scales) + block);
      return {pair.x, pair.x, pair.y};
    } else if constexpr (HasScaleBlocks(kKind)) {
      return {__uint_as_float(super), __uint_as_float(super), 0.0f};
    } else if constexpr (kKind == DeviceKind::kU4Half || kKind == DeviceKind::kI8Half) {
      const float scale = HalfBits(words[group / 2] >> (16 * (group % 2)));
      return {scale, scale, 0.0f};
    } else if constexpr (HasSuper(kKind)) {
      const uint32_t pair = words[group / 2] >> (16 * (group % 2));
      const float d = HalfBits(super);
      if constexpr (kKind == DeviceKind::kI8Sub16) {
        return {d * static_cast<float>(static_cast<int8_t>(pair)),
                d * static_cast<float>(static_cast<int8_t>(pair >> 8)), 0.0f};
      }
      const float scale = d * SmallFloat(pair & 0xff);
      return {scale, scale, HalfBits(super >> 16) * SmallFloat(pair >> 8 & 0xff)};
    } else {
      const float scale = HalfBits(words[group]);
      return {scale, scale, HalfBits(words[group] >> 16)};
    }
  }

  // An integer below 2^23, faster than a conversion.
  __device__ static float SmallFloat(uint32_t value) {
    return __uint_as_float(value | 0x4b000000u) - 8388608.0f;
  }
};

}  // namespace quire::ops::linear
