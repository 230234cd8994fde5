// Device code: keys and weights of tokens, with the very operations of distribution.h.
#pragma once

#include <cstdint>

namespace quire::ops::topk_topp_sampling {

__device__ inline uint64_t DeviceKey(float logit, int token) {
  const uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0f));
  const uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(~ascending) << 32 | static_cast<uint32_t>(token);
}

__device__ inline float DeviceLogit(uint64_t key) {
  const uint32_t ascending = ~static_cast<uint32_t>(key >> 32);
  return __uint_as_float((ascending & 0x80000000u) != 0 ? ascending & 0x7fffffffu : ~ascending);
}

// WeightOf(): each product and sum is rounded alone.
__device__ inline uint64_t DeviceWeight(float logit, float max, float scale) {
  constexpr float kLowest = -60.0f;
  constexpr float kRound = 12582912.0f;
  constexpr float kHighUnits = 8.0f;
  constexpr float kLowUnits = 0x1.8p-17f;
  float y = __fmul_rn(__fsub_rn(logit, max), scale);
  y = y > kLowest ? y : kLowest;
  const float shifted = __fadd_rn(y, kRound);
  const float f = __fsub_rn(y, __fsub_rn(shifted, kRound));
  const float square = __fmul_rn(f, f);
  float p = __fadd_rn(__fmul_rn(__fadd_rn(__fmul_rn(f, 0x1.5bba14p-10f), 0x1.3cea88p-7f), square),
                      __fadd_rn(__fmul_rn(f, 0x1.c6b752p-5f), 0x1.ebf9bcp-3f));
  p = __fadd_rn(__fmul_rn(p, square), __fadd_rn(__fmul_rn(f, 0x1.62e42ap-1f), 1.0f));
  p = __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
  const float whole = __fadd_rn(p, kHighUnits);
  const float rest = __fadd_rn(__fsub_rn(p, __fsub_rn(whole, kHighUnits)), kLowUnits);
  const int64_t high = __float_as_int(whole) - __float_as_int(kHighUnits);
  const int64_t low = __float_as_int(rest) - __float_as_int(kLowUnits);
  return static_cast<uint64_t>((high << 20) + low);
}

// TopPWeight(), DrawWeight().
__device__ inline uint64_t DeviceTopPWeight(float top_p, uint64_t total) {
  const auto wanted = static_cast<uint64_t>(
      ceil(__dmul_rn(static_cast<double>(top_p), static_cast<double>(total))));
  return wanted < 1 ? 1 : wanted < total ? wanted : total;
}
__device__ inline uint64_t DeviceDrawWeight(float uniform, uint64_t total) {
  const auto u = static_cast<uint64_t>(__fmul_rn(uniform, 0x1p24f));
  return u * (total >> 24) + (u * (total & 0xffffffu) >> 24) + 1;
}

}  // namespace quire::ops::topk_topp_sampling
