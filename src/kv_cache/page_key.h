// PageKey: the name of a page's content outside of the prefix tree.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <span>

namespace quire {

// 128 bits of a hash over the salt and all tokens up to the end of the page: two lanes of multiply
// and shift, crossed after each page. Two histories of 2^40 have the same key with odds of 2^-49.
// Not made to resist someone who constructs tokens for that: tenants who do not trust each other
// use different salts.
struct PageKey {
  uint64_t high = 0;
  uint64_t low = 0;
  auto operator<=>(const PageKey&) const = default;

  // Of the empty history.
  static PageKey OfSalt(uint64_t salt) {
    // Digits of pi: from zero, a history of tokens 0 would never leave it.
    return PageKey{0x243F6A8885A308D3u, 0x13198A2E03707344u}.Mixed(salt).Crossed();
  }
  // Of this history and one more page of tokens.
  PageKey Extended(std::span<const int32_t> tokens) const {
    PageKey key = *this;
    for (const int32_t token : tokens) {
      key = key.Mixed(static_cast<uint32_t>(token));
    }
    return key.Crossed();
  }

 private:
  PageKey Mixed(uint64_t value) const {
    const uint64_t a = (high + value) * 0xD6E8FEB86659FD93u;
    const uint64_t b = (low ^ value) * 0x9E3779B97F4A7C15u;
    return {a ^ (a >> 32), b ^ (b >> 29)};
  }
  PageKey Crossed() const {
    const uint64_t a = (high ^ std::rotl(low, 27)) * 0xA0761D6478BD642Fu;
    const uint64_t b = (low + std::rotl(high, 41)) * 0xE7037ED1A0B428DBu;
    return {a ^ (a >> 31), b ^ (b >> 33)};
  }
};

}  // namespace quire
