// The arithmetic that every implementation shares, so that all draw the same token.
//
// Tokens are ordered by logit, descending, ties by ascending id. A token's weight is e^((l - max) /
// temperature) as a fixed-point number: sums of weights are integers, the same in whatever order
// and by whatever partition they are added, and every comparison with them is exact. One unit is
// 2^-40 of the largest token's probability; what is less likely than half of that is never drawn.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "ops/lanes.h"
#include "ops/topk_topp_sampling/row_fault.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

inline constexpr int kWeightBits = 40;
inline constexpr int kHalfBits = kWeightBits / 2;
inline constexpr double kWeightOne = 0x1p40;
inline constexpr int64_t kMaxVocabulary = (int64_t{1} << 23) - 1;  // sums stay below 2^63
// (l - max) / temperature at and below this has weight 0: e^-29 < 2^-41, with room for rounding.
inline constexpr float kWeightlessExponent = -29.0f;

inline RowFault FaultOf(bool has_nan, float max) {
  if (has_nan) {
    return RowFault::kNan;
  }
  if (std::isinf(max)) {
    return max > 0 ? RowFault::kInfinite : RowFault::kMasked;
  }
  return RowFault::kNone;
}

// Whether top-k, top-p or min-p is on: the order of the inverse CDF depends on it.
inline bool Filters(const SamplingParams& params, int64_t vocabulary) {
  return (params.top_k > 0 && params.top_k < vocabulary) || params.top_p < 1.0f ||
         params.min_p > 0.0f;
}

// Ascending keys are the order of tokens.
inline uint64_t KeyOf(float logit, int32_t token) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 becomes +0, which it ties with
  const uint32_t ascending = (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
  return static_cast<uint64_t>(~ascending) << 32 | static_cast<uint32_t>(token);
}

inline int32_t TokenOf(uint64_t key) {
  return static_cast<int32_t>(key & 0xffffffff);
}

inline float LogitOf(uint64_t key) {
  const auto ascending = ~static_cast<uint32_t>(key >> 32);
  return std::bit_cast<float>((ascending & 0x80000000) != 0 ? ascending & 0x7fffffff : ~ascending);
}

// What (l - max) is multiplied by to be an exponent of 2. Finite for every temperature > 0.
inline float WeightScale(float temperature) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  return static_cast<float>(
      std::min<double>(kLog2E / temperature, std::numeric_limits<float>::max()));
}

// The weights of kVectors vectors of logits in two parts: weight = high * 2^20 + low, |low| <=
// 2^19. For all widths the same: 2^(n + f), |f| <= 1/2, is a polynomial of degree 5 (minimax with
// p(0) = 1, relative error 9e-8) whose exponent n is added to; the two parts come from adding
// constants whose last place is worth 2^-20 and 2^-40, which rounds to nearest. The steps of
// several vectors alternate, since each waits for the one before. REQUIRES: logits <= max.
template <int kLanes, int kVectors>
[[gnu::always_inline]] inline void WeightParts(const typename Lanes<kLanes>::Float* logits,
                                               float max, float scale,
                                               typename Lanes<kLanes>::Int* high,
                                               typename Lanes<kLanes>::Int* low) {
  using Float = typename Lanes<kLanes>::Float;
  using Uint = typename Lanes<kLanes>::Uint;
  constexpr float kLowest = -60.0f;      // any weightless exponent
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr float kHighUnits = 8.0f;
  constexpr float kLowUnits = 0x1.8p-17f;
  // Either is an instruction: to raise what is too low, or with mask registers to clear it later.
  constexpr bool kClears = kLanes == kAvx512Lanes;
  const Float zero = {};
  Float y[kVectors];
  Float shifted[kVectors];
  Float f[kVectors];
  Float p[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    y[i] = (logits[i] - max) * scale;
    if constexpr (!kClears) {
      y[i] = y[i] > kLowest ? y[i] : zero + kLowest;
    }
    shifted[i] = y[i] + kRound;
    f[i] = y[i] - (shifted[i] - kRound);
  }
  for (int i = 0; i < kVectors; ++i) {
    p[i] = (f[i] * 0x1.5bba14p-10f + 0x1.3cea88p-7f) * (f[i] * f[i]) +
           (f[i] * 0x1.c6b752p-5f + 0x1.ebf9bcp-3f);
  }
  for (int i = 0; i < kVectors; ++i) {
    p[i] = p[i] * (f[i] * f[i]) + (f[i] * 0x1.62e42ap-1f + 1.0f);
  }
  for (int i = 0; i < kVectors; ++i) {
    Uint power;
    Uint exponent;
    std::memcpy(&power, &p[i], sizeof(power));
    std::memcpy(&exponent, &shifted[i], sizeof(exponent));
    power += exponent << 23;
    if constexpr (kClears) {
      power = y[i] > kLowest ? power : Uint{};
    }
    std::memcpy(&p[i], &power, sizeof(power));
  }
  for (int i = 0; i < kVectors; ++i) {
    const Float whole = p[i] + kHighUnits;
    const Float rest = (p[i] - (whole - kHighUnits)) + kLowUnits;
    std::memcpy(&high[i], &whole, sizeof(whole));
    std::memcpy(&low[i], &rest, sizeof(rest));
    high[i] -= std::bit_cast<int32_t>(kHighUnits);
    low[i] -= std::bit_cast<int32_t>(kLowUnits);
  }
}

// One weight of its parts, or the sum of those of sums.
inline uint64_t JoinParts(int64_t high, int64_t low) {
  return static_cast<uint64_t>((high << kHalfBits) + low);
}

// REQUIRES: logit <= max, both as FaultOf() wants them; a WeightScale().
inline uint64_t WeightOf(float logit, float max, float scale) {
  Lanes<kBaselineLanes>::Int high;
  Lanes<kBaselineLanes>::Int low;
  const Lanes<kBaselineLanes>::Float all = Lanes<kBaselineLanes>::Float{} + logit;
  WeightParts<kBaselineLanes, 1>(&all, max, scale, &high, &low);
  return JoinParts(high[0], low[0]);
}

// The weight that the shortest prefix for top-p must reach, of `total`.
inline uint64_t TopPWeight(float top_p, uint64_t total) {
  const auto wanted =
      static_cast<uint64_t>(std::ceil(static_cast<double>(top_p) * static_cast<double>(total)));
  return std::clamp(wanted, uint64_t{1}, total);
}

// The least weight that min-p keeps; the largest token's is kWeightOne.
inline uint64_t MinPWeight(float min_p) {
  return static_cast<uint64_t>(std::ceil(static_cast<double>(min_p) * kWeightOne));
}

// The draw is the first token at which the running sum of weights reaches this: floor(u * total)
// + 1.
inline uint64_t DrawWeight(float uniform, uint64_t total) {
  constexpr int kUniformBits = 24;
  const auto u = static_cast<uint64_t>(uniform * 0x1p24f);
  const uint64_t high = total >> kUniformBits;
  const uint64_t low = total & ((uint64_t{1} << kUniformBits) - 1);
  return u * high + (u * low >> kUniformBits) + 1;
}

// The log-probability of a logit; `total` is the sum of the weights of all tokens at temperature 1.
inline float LogprobOf(float logit, float max, uint64_t total) {
  const double log_sum = std::log(static_cast<double>(total) / kWeightOne);
  return static_cast<float>(static_cast<double>(logit) - max - log_sum);
}

}  // namespace quire::ops::topk_topp_sampling
