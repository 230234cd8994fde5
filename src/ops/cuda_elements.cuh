// Elements of arrays on the GPU: as fp32, with the bits that tensor/half.h and tensor/float8.h
// define, and several at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "tensor/element.h"

namespace quire::ops {

__device__ inline bool IsNumber(float value) {
  return value == value;
}

// The instructions forget the payload of a NaN and the sign, so it goes its own way.
__device__ inline float Widen(float value) {
  return value;
}
__device__ inline float Widen(Half value) {
  const uint32_t bits = value.bits;
  const float number = __half2float(__ushort_as_half(value.bits));
  return IsNumber(number)
             ? number
             : __uint_as_float((bits & 0x8000) << 16 | 0x7fc00000 | (bits & 0x3ff) << 13);
}
__device__ inline float Widen(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}
__device__ inline float Widen(Float8 value) {
  const uint32_t bits = value.bits;
  const __half_raw half = __nv_cvt_fp8_to_halfraw(value.bits, __NV_E4M3);
  return (bits & 0x7f) == 0x7f ? __uint_as_float((bits & 0x80) << 24 | 0x7fc00000)
                               : __half2float(__ushort_as_half(half.x));
}

// To the nearest, ties to even.
__device__ inline void Narrow(float value, float& to) {
  to = value;
}
__device__ inline void Narrow(float value, Half& to) {
  const uint32_t bits = __float_as_uint(value);
  to.bits = IsNumber(value)
                ? __half_as_ushort(__float2half_rn(value))
                : static_cast<uint16_t>((bits >> 16 & 0x8000) | 0x7e00 | (bits >> 13 & 0x3ff));
}
__device__ inline void Narrow(float value, BFloat16& to) {
  const uint32_t bits = __float_as_uint(value);
  to.bits = IsNumber(value) ? __bfloat16_as_ushort(__float2bfloat16_rn(value))
                            : static_cast<uint16_t>(bits >> 16 | 0x40);
}
__device__ inline void Narrow(float value, Float8& to) {
  const uint32_t sign = __float_as_uint(value) >> 24 & 0x80;
  to.bits = static_cast<uint8_t>(
      IsNumber(value) ? __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3) : sign | 0x7f);
}

// `result`, of arithmetic on `value`, or `value` itself, made quiet, where it is a NaN.
__device__ inline float KeepNaN(float value, float result) {
  return IsNumber(value) ? result : __uint_as_float(__float_as_uint(value) | 0x400000);
}

// `kCount` neighbours. A thread's piece of a row; 16 bytes of the row's type is what one
// instruction moves.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T values[kCount];
};

template <typename T>
inline constexpr int kPackOf = 16 / static_cast<int>(sizeof(T));

// Elements [at, at + kCount) of a row of `count`. kWhole: the row is aligned to the pack and count
// is a multiple of kCount; else element by element, with zeros past the end.
template <bool kWhole, int kCount, typename T>
__device__ inline Pack<T, kCount> LoadPack(const T* row, int64_t at, int64_t count) {
  if constexpr (kWhole) {
    return *reinterpret_cast<const Pack<T, kCount>*>(row + at);
  } else {
    Pack<T, kCount> pack = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (at + i < count) {
        pack.values[i] = row[at + i];
      }
    }
    return pack;
  }
}

template <bool kWhole, int kCount, typename T>
__device__ inline void StorePack(const Pack<T, kCount>& pack, T* row, int64_t at, int64_t count) {
  if constexpr (kWhole) {
    *reinterpret_cast<Pack<T, kCount>*>(row + at) = pack;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (at + i < count) {
        row[at + i] = pack.values[i];
      }
    }
  }
}

}  // namespace quire::ops
