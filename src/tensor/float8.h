// 8-bit floats of the kind e4m3 (Micikevicius et al., 2022, "FP8 formats for deep learning"; the
// OCP 8-bit floating point specification): a sign, 4 bits of exponent with bias 7, 3 bits of
// mantissa. There are no infinities; magnitudes end at 448; 0x7f and 0xff are NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace quire {

inline constexpr float kFloat8Max = 448.0f;

inline float Float8ToFloat(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80) << 24;
  const uint32_t magnitude = bits & 0x7f;
  if (magnitude == 0x7f) {
    return std::bit_cast<float>(sign | 0x7fc00000);
  }
  if (magnitude < 8) {  // zero and subnormals: mantissa * 2^-9
    const float value = static_cast<float>(magnitude) * 0x1p-9f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

// Rounds to nearest even; magnitudes above 448 become 448, NaN stays NaN.
inline uint8_t FloatToFloat8(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return sign | 0x7f;
  }
  if (magnitude >= 0x43e00000) {  // 448
    return sign | 0x7e;
  }
  if (magnitude < 0x3c800000) {  // below 2^-6: the sum's rounding does the work
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000));
  }
  const uint32_t rounded = magnitude + 0x7ffff + ((magnitude >> 20) & 1);
  return static_cast<uint8_t>(sign | ((rounded - 0x3c000000) >> 20));
}

}  // namespace quire
