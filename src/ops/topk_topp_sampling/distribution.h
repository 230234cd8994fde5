// The arithmetic that every implementation shares, so that all draw the same token.
//
// Tokens are ordered by logit, descending, ties by ascending id. A token's weight is e^((l - max) /
// temperature) as a fixed-point number: sums of weights are integers, the same in whatever order
// and by whatever partition they are added, and every comparison with them is exact. One unit is
// 2^-40 of the largest token's probability; what is less likely than that is never drawn.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/status.h"
#include "ops/lanes.h"

namespace quire::ops::topk_topp_sampling {

inline constexpr int kWeightBits = 40;
inline constexpr double kWeightOne = 0x1p40;
inline constexpr int64_t kMaxVocabulary = (int64_t{1} << 23) - 1;  // sums stay below 2^63
// (l - max) / temperature at and below this has weight 0: e^-28 < 2^-40.
inline constexpr float kWeightlessExponent = -28.0f;

// Why a row cannot be sampled.
enum class RowFault : uint8_t {
  kNone,
  kNan,       // a logit is NaN
  kInfinite,  // the largest logit is +infinity
  kMasked,    // every logit is -infinity
};

// The error that names the row, or OK.
Status FaultStatus(RowFault fault, int64_t row);

inline RowFault FaultOf(bool has_nan, float max) {
  if (has_nan) {
    return RowFault::kNan;
  }
  if (std::isinf(max)) {
    return max > 0 ? RowFault::kInfinite : RowFault::kMasked;
  }
  return RowFault::kNone;
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

// REQUIRES: logit <= max, both as FaultOf() wants them; temperature > 0.
inline uint64_t WeightOf(float logit, float max, float temperature) {
  using Float = Lanes<kBaselineLanes>::Float;
  const Float exponent = Float{} + (logit - max) / temperature;
  Float power;
  Exp<kBaselineLanes>(exponent, power);
  return static_cast<uint64_t>(power[0] * static_cast<float>(kWeightOne));
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
