// Dice: random numbers of a workload, named by what they decide, so that a part of the workload can
// be left out without changing the rest.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace quire {

inline uint64_t MixHash(uint64_t state, uint64_t value) {
  state = (state ^ value) * 0xD6E8FEB86659FD93u;
  return state ^ (state >> 32);
}

// SplitMix64 (Steele, Lea and Flood, 2014).
class Dice {
 public:
  Dice(uint64_t seed, uint64_t about, uint64_t number = 0)
      : state_(MixHash(MixHash(seed + 1, about), number)) {}

  uint64_t Next() {
    uint64_t value = state_ += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
  }
  double Real(double high) { return static_cast<double>(Next() >> 11) * 0x1p-53 * high; }
  bool Chance(double probability) { return Real(1) < probability; }
  int32_t Uniform(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(Next() % (static_cast<uint64_t>(high) - low + 1));
  }
  // Half of the time uniform, else in favour of small numbers: the log of the result is uniform.
  int32_t Skewed(int32_t low, int32_t high) {
    if (Chance(0.5)) {
      return Uniform(low, high);
    }
    const double log = std::log(low) + Real(std::log(high + 1.0) - std::log(low));
    return std::clamp(static_cast<int32_t>(std::exp(log)), low, high);
  }

 private:
  uint64_t state_;
};

}  // namespace quire
