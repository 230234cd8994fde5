// Numbers of rows that share a choice.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace quire::ops::linear {

// The number of rows for which the algorithm of a product of `m` rows is chosen: m rounded up to
// a multiple of 8, and of a quarter of the power of two below it. An algorithm for twice as many
// rows takes up to twice the time of the best one. A single row is a case of its own.
constexpr int64_t RowBucket(int64_t m) {
  if (m == 1) {
    return 1;
  }
  const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(m - 1)));
  const int64_t step = std::max<int64_t>(8, below / 4);
  return (m + step - 1) / step * step;
}

}  // namespace quire::ops::linear
