// Single elements of block-quantized rows, with the values that tensor/block_formats.h defines.
#pragma once

#include <cstdint>

#include "ops/cuda_rows.cuh"
#include "tensor/block_formats.h"

namespace quire::ops::embedding {

template <typename Table>
inline constexpr bool kIsBlock = sizeof(Table) > sizeof(float);

// scale * code + min, each rounded for itself.
__device__ inline float Value(float scale, int code, float min = 0.0f) {
  return __fadd_rn(__fmul_rn(scale, static_cast<float>(code)), min);
}
__device__ inline float FromHalf(uint16_t bits) {
  return Widen(Half{bits});
}
__device__ inline int Nibble(const uint8_t* qs, int i) {  // of a block of 32
  return i < 16 ? qs[i] & 0x0f : qs[i - 16] >> 4;
}
__device__ inline int FifthBit(const uint8_t* qh, int i) {
  return (qh[i / 8] >> (i % 8) & 1) << 4;
}

__device__ inline float ElementOf(const BlockQ4_0& block, int i) {
  return Value(FromHalf(block.d), Nibble(block.qs, i) - 8);
}
__device__ inline float ElementOf(const BlockQ4_1& block, int i) {
  return Value(FromHalf(block.d), Nibble(block.qs, i), FromHalf(block.m));
}
__device__ inline float ElementOf(const BlockQ5_0& block, int i) {
  return Value(FromHalf(block.d), (Nibble(block.qs, i) | FifthBit(block.qh, i)) - 16);
}
__device__ inline float ElementOf(const BlockQ5_1& block, int i) {
  return Value(FromHalf(block.d), Nibble(block.qs, i) | FifthBit(block.qh, i), FromHalf(block.m));
}
__device__ inline float ElementOf(const BlockQ8_0& block, int i) {
  return Value(FromHalf(block.d), block.qs[i]);
}

// Of element `i` of a block of 256 with the code `code`: sub-block i / 32 has 6 bits of scale and
// of min.
template <typename Block>
__device__ float ValueK(const Block& block, int i, int code) {
  const int j = i / 32;
  const uint8_t* packed = block.scales;
  const int scale = j < 4 ? packed[j] & 0x3f : (packed[j + 4] & 0x0f) | (packed[j - 4] >> 6) << 4;
  const int min = j < 4 ? packed[j + 4] & 0x3f : packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
  return Value(FromHalf(block.d) * static_cast<float>(scale), code,
               -(FromHalf(block.dmin) * static_cast<float>(min)));
}
// Sub-blocks 2p and 2p + 1 share the bytes qs[32p .. 32p + 31].
__device__ inline int NibbleK(const uint8_t* qs, int i) {
  const int byte = qs[i / 64 * 32 + i % 32];
  return i % 64 < 32 ? byte & 0x0f : byte >> 4;
}
__device__ inline float ElementOf(const BlockQ4K& block, int i) {
  return ValueK(block, i, NibbleK(block.qs, i));
}
__device__ inline float ElementOf(const BlockQ5K& block, int i) {
  return ValueK(block, i, NibbleK(block.qs, i) | (block.qh[i % 32] >> (i / 32) & 1) << 4);
}
__device__ inline float ElementOf(const BlockQ6K& block, int i) {
  const int half = i / 128;
  const int run = i % 128 / 32;
  const int low = block.ql[64 * half + 32 * (run % 2) + i % 32] >> (4 * (run / 2)) & 0x0f;
  const int high = block.qh[32 * half + i % 32] >> (2 * run) & 3;
  return Value(FromHalf(block.d) * static_cast<float>(block.scales[i / 16]),
               (low | high << 4) - 32);
}

// Element `i` of a row of blocks.
template <typename Block>
__device__ float ElementOf(const void* row, int64_t i) {
  constexpr int kElements = sizeof(Block) > 100 ? 256 : 32;
  return ElementOf(static_cast<const Block*>(row)[i / kElements], static_cast<int>(i % kElements));
}

// Calls body(Table{}) with the element or block that stores `dtype`.
template <typename Body>
void WithTableType(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kQ4_0: return body(BlockQ4_0{});
    case DType::kQ4_1: return body(BlockQ4_1{});
    case DType::kQ5_0: return body(BlockQ5_0{});
    case DType::kQ5_1: return body(BlockQ5_1{});
    case DType::kQ8_0: return body(BlockQ8_0{});
    case DType::kQ4_K: return body(BlockQ4K{});
    case DType::kQ5_K: return body(BlockQ5K{});
    case DType::kQ6_K: return body(BlockQ6K{});
    default: return WithPlainType(dtype, body);
  }
}

}  // namespace quire::ops::embedding
