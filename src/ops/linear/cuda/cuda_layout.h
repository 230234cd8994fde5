// How weights lie in the memory of a CUDA device.
//
// A segment is a matrix [N, K] of one kind, one row after the other, `row_bytes` apart, K padded
// with zeros to whole spans. A span is 128 bytes of a row, so that a warp reads whole lines: lane t
// of four reads the 16 bytes at 64 j + 16 t for j = 0, 1.
//   dense  elements in ascending k: 32 (f32) or 64 (f16, bf16) of them
//   8-bit  128 codes: byte 64 j + 16 t + 8 h + i is element 64 j + 32 h + of(t, i)
//   4-bit  256 codes: the word at 64 j + 16 t + 4 h holds elements 128 j + 32 h + of(t, i), i = 0
//   ..
//          7 in the nibbles 0, 4, 1, 5, 2, 6, 3, 7 (pairs of them are 16 bits apart)
// of(t, i) is 8 t + i, or, where 16 elements share a scale, 4 t + i for i < 4 and 16 + 4 t + i - 4
// for the others. So a lane has what the same lane of a matrix fragment needs, and 16 elements of
// a group fill one m16n8k16 product whose inputs x are contiguous.
// 8-bit codes are signed, with the sign bit flipped (q5_0, q6_K: their offset is taken off);
// 4-bit codes are as they are. w = scale * (code - offset) + min.
#pragma once

#include <cstdint>

namespace quire::ops::linear {

enum class DeviceKind : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8,          // f8e4m3: f32 scale per 128 or for the row
  kI8,          // i8: f32 scale for the row
  kU4Half,      // q4_0: f16 scale per 32; offset 8
  kU4HalfMin,   // q4_1: f16 scale, min per 32
  kU4Super,     // q4_K: u8 scale, min per 32 times f16 scale, -min per 256
  kU4FloatMin,  // int4 groups: f32 scale, min per block of scales
  kI8Half,      // q5_0, q8_0
  kI8HalfMin,   // q5_1
  kI8Super,     // q5_K
  kI8Sub16,     // q6_K: i8 scale per 16 times f16 scale per 256
};

constexpr bool IsDense(DeviceKind kind) {
  return kind <= DeviceKind::kBF16;
}
constexpr bool IsU4(DeviceKind kind) {
  return kind >= DeviceKind::kU4Half && kind <= DeviceKind::kU4FloatMin;
}
constexpr bool HasMin(DeviceKind kind) {
  return kind == DeviceKind::kU4HalfMin || kind == DeviceKind::kU4Super ||
         kind == DeviceKind::kU4FloatMin || kind == DeviceKind::kI8HalfMin ||
         kind == DeviceKind::kI8Super;
}
// f32 scales of blocks of elements, one each or, with a min, two.
constexpr bool HasScaleBlocks(DeviceKind kind) {
  return kind == DeviceKind::kF8 || kind == DeviceKind::kI8 || kind == DeviceKind::kU4FloatMin;
}
constexpr bool HasSuper(DeviceKind kind) {
  return kind == DeviceKind::kU4Super || kind == DeviceKind::kI8Super ||
         kind == DeviceKind::kI8Sub16;
}

inline constexpr int kSpanBytes = 128;
// Elements of a span.
constexpr int SpanOf(DeviceKind kind) {
  return IsU4(kind) ? 256 : kind == DeviceKind::kF32 ? 32 : IsDense(kind) ? 64 : 128;
}
// Bytes of a span's scales; 0 without scales or with blocks of scales.
constexpr int SpanScaleBytes(DeviceKind kind) {
  if (IsDense(kind) || HasScaleBlocks(kind)) {
    return 0;
  }
  const int groups = SpanOf(kind) / 32;
  const bool pairs = kind == DeviceKind::kU4HalfMin || kind == DeviceKind::kI8HalfMin;
  return groups * (pairs ? 4 : 2);
}

// Rows of one kind: pointers are device memory.
struct DeviceSegment {
  DeviceKind kind = DeviceKind::kBF16;
  int64_t first_feature = 0;        // column of out that its first row writes
  int64_t features = 0;             // N
  int64_t spans = 0;                // of a row
  const uint8_t* data = nullptr;    // [N][spans][128]
  const uint8_t* scales = nullptr;  // [N][spans][SpanScaleBytes], or f32 [N][scale_blocks][1, 2]
  const uint32_t* super = nullptr;  // two f16 (scale, -min) [N][ceil(spans * span / 256)]
  // Blocks of scales: of a row, and the binary logarithm of their elements if there are several.
  int64_t scale_blocks = 0;
  int scale_shift = 0;
  // Of f8e4m3 for products in that type (ActivationMode::kFp8), f32: the scales of squares of 128 x
  // 128 elements [ceil(N / 128)][SquareStride()]; null where elements of a square differ in theirs.
  const float* squares = nullptr;

  constexpr int64_t RowBytes() const { return spans * kSpanBytes; }
  constexpr int64_t SquareStride() const { return (spans + 3) / 4 * 4; }
  constexpr int64_t SuperCount() const { return (spans * SpanOf(kind) + 255) / 256; }
};

}  // namespace quire::ops::linear
