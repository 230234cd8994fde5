// A sum over a row in one order at every vector width: 16 partial sums (element i in sum i mod 16),
// folded in halves.
#pragma once

#include <cstdint>

#include "ops/lanes.h"

namespace quire::ops {

inline constexpr int kRowSums = 16;

// The sum of term(x[i]). Term changes its argument, a vector of floats or one, to what is added.
template <int kLanes, typename X, typename Term>
[[gnu::always_inline]] inline float SumOfRow(const X* x, int64_t elements, const Term& term) {
  using Float = typename Lanes<kLanes>::Float;
  constexpr int kParts = kRowSums / kLanes;
  Float sums[kParts] = {};
  Float v;
  int64_t i = 0;
  for (; i + kRowSums <= elements; i += kRowSums) {
    for (int part = 0; part < kParts; ++part) {
      LoadLanes<kLanes>(x + i + part * kLanes, v);
      term(v);
      sums[part] += v;
    }
  }
  float folded[kRowSums];
  for (int part = 0; part < kParts; ++part) {
    Store(sums[part], folded + part * kLanes);
  }
  for (int lane = 0; i < elements; ++i, ++lane) {
    float last = ToFloat(x[i]);
    term(last);
    folded[lane] += last;
  }
  for (int width = kRowSums / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) {
      folded[lane] += folded[lane + width];
    }
  }
  return folded[0];
}

}  // namespace quire::ops
