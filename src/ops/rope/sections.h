// Multi-section positions as the implementations see them.
#pragma once

#include <array>
#include <cstdint>

#include "ops/rope/rope.h"

namespace quire::ops::rope {

// Where the positions of pairs lie: section s has the pairs up to end[s].
struct Sections {
  Sections() = default;
  explicit Sections(const Angles& angles)
      : count(angles.positions.rank() == 2 ? static_cast<int>(angles.positions.dim(0)) : 1),
        stride(angles.positions.dim(angles.positions.rank() - 1)) {
    int64_t sum = 0;
    for (int s = 0; s < count; ++s) {
      sum += angles.sections[s];
      end[s] = count == 1 ? angles.inverse_frequency.dim(0) : sum;
    }
  }

  int count = 0;
  int64_t stride = 0;  // positions from one section to the next
  std::array<int64_t, kMaxSections> end = {};
};

}  // namespace quire::ops::rope
