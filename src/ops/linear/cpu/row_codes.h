// The codes of a row with one scale (ActivationForm::kRow8), at any number of lanes with the same
// bits.
#pragma once

#include <cstring>

#include "ops/lanes.h"
#include "ops/linear/cpu/panel_product.h"

namespace quire::ops::linear {

template <int kLanes>
struct RowLanes {
  using Float = typename Lanes<kLanes>::Float;
  using Int = typename Lanes<kLanes>::Int;
  typedef int8_t Bytes __attribute__((vector_size(kLanes)));
};

// largest = the larger of each lane's bits and those of |v|.
template <int kLanes>
[[gnu::always_inline]] inline void TakeMagnitude(const typename RowLanes<kLanes>::Float& v,
                                                 typename RowLanes<kLanes>::Int& largest) {
  typename RowLanes<kLanes>::Int bits;
  std::memcpy(&bits, &v, sizeof(bits));
  bits &= 0x7fffffff;
  largest = bits > largest ? bits : largest;
}

// bytes = round_half_even(v * inverse), also added to sums.
template <int kLanes>
[[gnu::always_inline]] inline void RoundLanes(const typename RowLanes<kLanes>::Float& v,
                                              float inverse, typename RowLanes<kLanes>::Int& sums,
                                              typename RowLanes<kLanes>::Bytes& bytes) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr int32_t kRoundBits = 0x4b400000;
  const typename RowLanes<kLanes>::Float shifted = v * inverse + kRound;
  typename RowLanes<kLanes>::Int code;
  std::memcpy(&code, &shifted, sizeof(code));
  code -= kRoundBits;
  sums += code;
  bytes = __builtin_convertvector(code, typename RowLanes<kLanes>::Bytes);
}

// codes [k] of x [k]: round_half_even(x * (127 / max|x|)); scale and special values as in
// quantize_activations.h.
template <int kLanes>
[[gnu::always_inline]] inline RowScale QuantizeRow(const float* x, int64_t k, int8_t* codes) {
  typename RowLanes<kLanes>::Float v;
  typename RowLanes<kLanes>::Float tail;
  typename RowLanes<kLanes>::Int largest = {};
  const int64_t whole = k / kLanes * kLanes;
  LoadPart(x + whole, k - whole, tail);
  for (int64_t i = 0; i < whole; i += kLanes) {
    Load(x + i, v);
    TakeMagnitude<kLanes>(v, largest);
  }
  TakeMagnitude<kLanes>(tail, largest);
  int32_t max_bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    max_bits = largest[lane] > max_bits ? largest[lane] : max_bits;
  }
  const GroupScale scale = ScaleOf(static_cast<uint32_t>(max_bits));
  if (scale.inverse == 0.0f) {
    std::memset(codes, 0, static_cast<size_t>(k));
    return {scale.scale, 0};
  }
  typename RowLanes<kLanes>::Int sums = {};
  typename RowLanes<kLanes>::Bytes bytes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    Load(x + i, v);
    RoundLanes<kLanes>(v, scale.inverse, sums, bytes);
    std::memcpy(codes + i, &bytes, sizeof(bytes));
  }
  RoundLanes<kLanes>(tail, scale.inverse, sums, bytes);
  for (int64_t i = whole; i < k; ++i) {
    codes[i] = bytes[i - whole];
  }
  int32_t sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    sum += sums[lane];
  }
  return {scale.scale, sum};
}

}  // namespace quire::ops::linear
