// Cosines and sines in double arithmetic that gives the same bits at every vector width and on
// every machine: the library's functions do not promise it, and take one angle at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ops/lanes.h"
#include "ops/rope/sections.h"

namespace quire::ops::rope {

// Of the angles position * inverse_frequency, times `factor`. REQUIRES: angles below 2^31.
//
// Cody and Waite's reduction: angle = n pi / 2 + rest, |rest| <= pi / 4, pi / 2 in two parts of
// which the first has 22 bits, so that its product with n is exact. Then Taylor's polynomials,
// whose next terms are below 1e-11.
template <int kLanes>
[[gnu::always_inline]] inline void CosSin(int32_t position,
                                          const typename Lanes<kLanes>::Float& inverse_frequency,
                                          float factor, typename Lanes<kLanes>::Float& cosine,
                                          typename Lanes<kLanes>::Float& sine) {
  using Float = typename Lanes<kLanes>::Float;
  typedef double Double __attribute__((vector_size(kLanes * sizeof(double))));
  typedef int64_t Int __attribute__((vector_size(kLanes * sizeof(int64_t))));
  constexpr double kRound = 0x1.8p52;  // adding it rounds to an integer
  const Double angle =
      __builtin_convertvector(inverse_frequency, Double) * static_cast<double>(position);
  const Double shifted = angle * 0x1.45f306dc9c883p-1 + kRound;
  const Double n = shifted - kRound;
  const Double r = (angle - n * 0x1.921fbp+0) - n * 0x1.5110b4611a626p-22;
  const Double square = r * r;
  Double c = square * (1.0 / 479001600) - 1.0 / 3628800;
  c = c * square + 1.0 / 40320;
  c = c * square - 1.0 / 720;
  c = c * square + 1.0 / 24;
  c = c * square - 0.5;
  c = c * square + 1.0;
  Double s = square * (-1.0 / 39916800) + 1.0 / 362880;
  s = s * square - 1.0 / 5040;
  s = s * square + 1.0 / 120;
  s = s * square - 1.0 / 6;
  s = s * (square * r) + r;
  Int quadrant;
  std::memcpy(&quadrant, &shifted, sizeof(quadrant));
  const Int swapped = (quadrant & 1) != 0;
  Double cos_part = swapped ? s : c;
  Double sin_part = swapped ? c : s;
  cos_part = ((quadrant + 1) & 2) != 0 ? -cos_part : cos_part;
  sin_part = (quadrant & 2) != 0 ? -sin_part : sin_part;
  cosine = __builtin_convertvector(cos_part, Float) * factor;
  sine = __builtin_convertvector(sin_part, Float) * factor;
}

// The cosines and sines of the pairs [begin, end) of token `t`, the first at cosines[0].
template <int kLanes>
[[gnu::always_inline]] inline void CosSinOfPairs(const int32_t* positions, const Sections& sections,
                                                 const float* inverse_frequency, float factor,
                                                 int64_t t, int64_t begin, int64_t end,
                                                 float* cosines, float* sines) {
  typename Lanes<kLanes>::Float frequency, cosine, sine;
  int64_t pair = begin;
  for (int s = 0; s < sections.count; ++s) {
    const int32_t position = positions[s * sections.stride + t];
    const int64_t last = std::min(end, sections.end[s]);
    while (pair < last) {
      const int64_t count = std::min<int64_t>(last - pair, kLanes);
      const int64_t at = pair - begin;
      if (count == kLanes) {
        Load(inverse_frequency + pair, frequency);
        CosSin<kLanes>(position, frequency, factor, cosine, sine);
        Store(cosine, cosines + at);
        Store(sine, sines + at);
      } else {
        LoadPart(inverse_frequency + pair, count, frequency);
        CosSin<kLanes>(position, frequency, factor, cosine, sine);
        StorePart(cosine, count, cosines + at);
        StorePart(sine, count, sines + at);
      }
      pair += count;
    }
  }
}

}  // namespace quire::ops::rope
