// The seed of randomized tests. For tests only: no product code includes this.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace quire {

// QUIRE_TEST_SEED if it is set, else a fresh random seed; printed so that a failure can be
// repeated.
inline uint64_t TestSeed() {
  const char* text = std::getenv("QUIRE_TEST_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  std::printf("QUIRE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);  // a failed check aborts: the seed must be out by then
  return seed;
}

}  // namespace quire
