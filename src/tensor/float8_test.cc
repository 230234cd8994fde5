#include "tensor/float8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/test_seed.h"

namespace quire {
namespace {

bool IsNan(uint8_t bits) {
  return (bits & 0x7f) == 0x7f;
}

// The value of e4m3 bits from the definition, without bit tricks.
double ByDefinition(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  const double sign = (bits >> 7) != 0 ? -1 : 1;
  return exponent == 0 ? sign * std::ldexp(mantissa, -9)
                       : sign * std::ldexp(8 + mantissa, exponent - 10);
}

// The nearest number by comparison with all of them, ties to the even pattern.
uint8_t Nearest(float value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  uint8_t best = 0;
  for (int bits = 1; bits < 0x7f; ++bits) {
    const double distance = std::fabs(ByDefinition(static_cast<uint8_t>(bits)) - magnitude);
    const double best_distance = std::fabs(ByDefinition(best) - magnitude);
    if (distance < best_distance || (distance == best_distance && bits % 2 == 0)) {
      best = static_cast<uint8_t>(bits);
    }
  }
  return static_cast<uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

TEST(Float8Test, EveryPatternHasItsValueAndComesBack) {
  for (int i = 0; i < 256; ++i) {
    const auto bits = static_cast<uint8_t>(i);
    const float value = Float8ToFloat(bits);
    if (IsNan(bits)) {
      EXPECT_TRUE(std::isnan(value)) << i;
    } else {
      EXPECT_EQ(value, ByDefinition(bits)) << i;
      EXPECT_EQ(std::signbit(value), i >= 128) << i;
    }
    EXPECT_EQ(FloatToFloat8(value), bits) << i;
  }
}

TEST(Float8Test, RoundsToTheNearestAndTiesToEven) {
  std::mt19937_64 rng(TestSeed());
  for (int i = 0; i < 20000; ++i) {
    const auto value = static_cast<float>(
        std::ldexp(static_cast<double>(rng() % 4096) / 4096.0, static_cast<int>(rng() % 24) - 13));
    const float signed_value = rng() % 2 == 0 ? value : -value;
    ASSERT_EQ(FloatToFloat8(signed_value), Nearest(signed_value)) << signed_value;
  }
  for (int i = 0; i < 0x7e; ++i) {  // halfway between neighbours
    const double middle =
        (ByDefinition(static_cast<uint8_t>(i)) + ByDefinition(static_cast<uint8_t>(i + 1))) / 2;
    const auto value = static_cast<float>(middle);
    ASSERT_EQ(FloatToFloat8(value), i + i % 2) << value;
    ASSERT_EQ(FloatToFloat8(std::nextafter(value, 1e9f)), i + 1) << value;
  }
}

TEST(Float8Test, SaturatesAndKeepsNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float value : {448.0f, 449.0f, 465.0f, 1e30f, kInfinity}) {
    EXPECT_EQ(FloatToFloat8(value), 0x7e) << value;
    EXPECT_EQ(FloatToFloat8(-value), 0xfe) << value;
  }
  EXPECT_TRUE(IsNan(FloatToFloat8(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace quire
