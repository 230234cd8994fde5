#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/test_seed.h"

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value of a half from the definition of binary16, without bit tricks.
double HalfByDefinition(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double sign = (bits >> 15) != 0 ? -1 : 1;
  if (exponent == 31) {
    return mantissa == 0 ? sign * kInfinity : std::numeric_limits<double>::quiet_NaN();
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

bool IsNanHalf(uint16_t bits) {
  return (bits & 0x7fff) > 0x7c00;
}

// The nearest half of a finite float, ties to the even pattern, found by bisection over all finite
// halves.
uint16_t NearestHalf(float value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (magnitude >= 65520) {  // halfway from the largest half to 65536
    return sign | 0x7c00;
  }
  uint16_t low = 0;  // the largest half that is not above the magnitude
  for (int bit = 14; bit >= 0; --bit) {
    const auto candidate = static_cast<uint16_t>(low | 1 << bit);
    if (candidate <= 0x7bff && HalfByDefinition(candidate) <= magnitude) {
      low = candidate;
    }
  }
  const double below = magnitude - HalfByDefinition(low);
  const double above = (low == 0x7bff ? 65536 : HalfByDefinition(low + 1)) - magnitude;
  const bool up = above < below || (above == below && (low & 1) != 0);
  return static_cast<uint16_t>(sign | (low + (up ? 1 : 0)));
}

TEST(HalfTest, EveryHalfHasItsValueAndComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (IsNanHalf(half)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_EQ(FloatToHalf(value), half | 0x200) << bits;  // quiet, with its payload
      continue;
    }
    ASSERT_EQ(value, HalfByDefinition(half)) << bits;
    ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    ASSERT_EQ(FloatToHalf(value), half) << bits;
  }
}

TEST(HalfTest, TiesGoToTheEvenPatternEverywhere) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = HalfToFloat(half);
    const float middle = low + (HalfToFloat(half + 1) - low) / 2;  // exact in fp32
    const uint16_t even = (half & 1) == 0 ? half : half + 1;
    ASSERT_EQ(FloatToHalf(middle), even) << half;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0F)), half) << half;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, kInfinity)), half + 1) << half;
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000) << half;
  }
}

TEST(HalfTest, OverflowAndUnderflow) {
  EXPECT_EQ(FloatToHalf(65504.0F), 0x7bff);
  EXPECT_EQ(FloatToHalf(65519.99F), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0F), 0x7c00);
  EXPECT_EQ(FloatToHalf(1e30F), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e30F), 0xfc00);
  EXPECT_EQ(FloatToHalf(kInfinity), 0x7c00);
  EXPECT_EQ(FloatToHalf(-kInfinity), 0xfc00);
  EXPECT_EQ(FloatToHalf(0x1p-25F), 0);
  EXPECT_EQ(FloatToHalf(std::nextafter(0x1p-25F, 1.0F)), 1);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::denorm_min()), 0x8000);
}

TEST(HalfTest, NanBecomesQuietAndKeepsItsPayload) {
  EXPECT_EQ(std::bit_cast<uint32_t>(HalfToFloat(0x7c01)), 0x7fc02000U);
  EXPECT_EQ(std::bit_cast<uint32_t>(HalfToFloat(0xfe55)), 0xffcaa000U);
  EXPECT_EQ(FloatToHalf(std::bit_cast<float>(0x7f800001U)), 0x7e00);
  EXPECT_EQ(FloatToHalf(std::bit_cast<float>(0xff802000U)), 0xfe01);
  EXPECT_EQ(FloatToHalf(std::bit_cast<float>(0x7fcabfffU)), 0x7e55);
}

TEST(HalfTest, RandomFloatsRoundToTheNearest) {
  std::mt19937_64 random(TestSeed());
  for (int i = 0; i < 200000; ++i) {
    // Exponents around those of halves: 2^-27 .. 2^17.
    const uint32_t exponent = 100 + static_cast<uint32_t>(random() % 45);
    const float value =
        std::bit_cast<float>(static_cast<uint32_t>(random() & 0x807fffff) | exponent << 23);
    ASSERT_EQ(FloatToHalf(value), NearestHalf(value)) << value;
  }
}

TEST(BFloat16Test, EveryPatternComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = BFloat16ToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(value)))) << bits;
    } else {
      ASSERT_EQ(FloatToBFloat16(value), bits);
    }
  }
}

TEST(BFloat16Test, TiesGoToTheEvenPatternEverywhere) {
  for (uint32_t high = 0; high < 0x7f80; ++high) {
    const auto middle = std::bit_cast<float>(high << 16 | 0x8000);
    const uint32_t even = (high & 1) == 0 ? high : high + 1;
    ASSERT_EQ(FloatToBFloat16(middle), even);
    ASSERT_EQ(FloatToBFloat16(-middle), even | 0x8000);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(high << 16 | 0x7fff)), high);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(high << 16 | 0x8001)), high + 1);
  }
}

TEST(BFloat16Test, SpecialValues) {
  EXPECT_EQ(FloatToBFloat16(kInfinity), 0x7f80);
  EXPECT_EQ(FloatToBFloat16(-kInfinity), 0xff80);
  EXPECT_EQ(FloatToBFloat16(std::numeric_limits<float>::max()), 0x7f80);
  // A NaN whose payload is all in the bits that are cut must not become infinite.
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(std::bit_cast<float>(0x7f800001U)))));
}

}  // namespace
}  // namespace quire
