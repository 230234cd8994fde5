// The arithmetic of a softmax over keys that come in pieces (Milakov and Gimelshein, 2018): a piece
// is the maximum of its scores, the sum of their exponentials and the weighted sum of its values,
// both relative to that maximum. Scores are in units of log 2. Everything that joins pieces joins
// them with these functions, in ascending order of keys, so that the same pieces give the same bits
// wherever they are joined.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace quire::ops::attention::cuda {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

__device__ __forceinline__ float MinusInfinity() {
  return __int_as_float(0xff800000);
}

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Of the four lanes that have a row of an instruction's accumulator.
__device__ __forceinline__ float MaxOfFour(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
}
__device__ __forceinline__ float SumOfFour(float x) {
  x += __shfl_xor_sync(0xffffffff, x, 1);
  return x + __shfl_xor_sync(0xffffffff, x, 2);
}

// What a maximum is subtracted as: 0 for the one of no keys, whose exponentials are then 0.
__device__ __forceinline__ float BaseOf(float max) {
  return max == MinusInfinity() ? 0.0f : max;
}

// The factors of what was there and of the piece that joins it.
struct FoldFactors {
  float max;
  float kept;
  float joined;
};

__device__ __forceinline__ FoldFactors Fold(float max, float piece_max) {
  const float both = fmaxf(max, piece_max);
  const float base = BaseOf(both);
  return {both, Exp2(max - base), Exp2(piece_max - base)};
}

__device__ __forceinline__ float FoldSum(float sum, float piece, const FoldFactors& factors) {
  return fmaf(piece, factors.joined, sum * factors.kept);
}

// The last step of a row: the sink joins the denominator, and the weighted sums become outputs when
// multiplied with `scale`. A row without keys has scale 0.
struct Finished {
  float scale;
  float lse;
};

__device__ __forceinline__ Finished Finish(float max, float sum, const float* sinks, int head) {
  if (max == MinusInfinity()) {
    return {0.0f, MinusInfinity()};
  }
  float scale = 1.0f;
  if (sinks != nullptr) {
    const FoldFactors factors = Fold(max, sinks[head] * kLog2E);
    sum = FoldSum(sum, 1.0f, factors);
    scale = factors.kept;
    max = factors.max;
  }
  return {scale / sum, (max + log2f(sum)) * kLn2};
}

__device__ __forceinline__ float ToFloat(float x) {
  return x;
}
__device__ __forceinline__ float ToFloat(__half x) {
  return __half2float(x);
}
__device__ __forceinline__ float ToFloat(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

__device__ __forceinline__ void Store(float value, float* to) {
  *to = value;
}
__device__ __forceinline__ void Store(float value, __half* to) {
  *to = __float2half_rn(value);
}
__device__ __forceinline__ void Store(float value, __nv_bfloat16* to) {
  *to = __float2bfloat16_rn(value);
}

}  // namespace quire::ops::attention::cuda
