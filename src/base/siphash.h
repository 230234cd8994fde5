// SipHash-2-4: a keyed hash of short strings (Aumasson and Bernstein, 2012).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace quire {

// Who does not know the key can neither foresee a hash nor make two strings with the same one.
struct SipHashKey {
  uint64_t low = 0;
  uint64_t high = 0;

  static SipHashKey Random() {
    std::random_device device;
    const auto draw = [&] { return uint64_t{device()} << 32 | device(); };
    return {draw(), draw()};
  }
};

inline uint64_t SipHash(const SipHashKey& key, std::string_view text) {
  uint64_t v[4] = {key.low ^ 0x736f6d6570736575u, key.high ^ 0x646f72616e646f6du,
                   key.low ^ 0x6c7967656e657261u, key.high ^ 0x7465646279746573u};
  const auto mix = [&v](int rounds) {
    for (; rounds > 0; --rounds) {
      v[0] += v[1];
      v[2] += v[3];
      v[1] = std::rotl(v[1], 13) ^ v[0];
      v[3] = std::rotl(v[3], 16) ^ v[2];
      v[0] = std::rotl(v[0], 32) + v[3];
      v[2] += v[1];
      v[1] = std::rotl(v[1], 17) ^ v[2];
      v[3] = std::rotl(v[3], 21) ^ v[0];
      v[2] = std::rotl(v[2], 32);
    }
  };
  const auto absorb = [&](uint64_t word) {
    v[3] ^= word;
    mix(2);
    v[0] ^= word;
  };
  const uint64_t length = text.size();
  for (; text.size() >= sizeof(uint64_t); text.remove_prefix(sizeof(uint64_t))) {
    uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof(word));
    absorb(word);
  }
  uint64_t last = length << 56;
  for (size_t i = 0; i < text.size(); ++i) {
    last |= uint64_t{static_cast<uint8_t>(text[i])} << (8 * i);
  }
  absorb(last);
  v[2] ^= 0xff;
  mix(4);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

}  // namespace quire
