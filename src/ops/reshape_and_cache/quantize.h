// The scale of a quantized row: part of the contract, so every implementation takes it from here.
#pragma once

#include <algorithm>

#include "tensor/float8.h"

namespace quire::ops::reshape_and_cache {

// For a row whose largest finite magnitude is `abs_max`. The bound keeps the scale a normal number.
constexpr float TokenHeadScale(float abs_max) {
  return abs_max == 0 ? 1.0f : std::max(abs_max / kFloat8Max, 0x1p-126f);
}

}  // namespace quire::ops::reshape_and_cache
