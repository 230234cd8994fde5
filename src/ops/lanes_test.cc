#include "ops/lanes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/test_seed.h"

namespace quire::ops {
namespace {

float ExpOf(float x) {
  Lanes<4>::Float v = Lanes<4>::Float{} + x;
  Exp<4>(v, v);
  EXPECT_TRUE((v[0] == v[1] && v[1] == v[2] && v[2] == v[3]) || std::isnan(x)) << x;
  return v[3];
}

TEST(ExpTest, IsWithinOneAndAHalfUnitsInTheLastPlace) {
  std::mt19937_64 rng(TestSeed());
  std::uniform_real_distribution<float> exponents(-104.0f, 88.7f);
  for (int i = 0; i < 200000; ++i) {
    const float x = i % 2 == 0 ? exponents(rng) : exponents(rng) / 64;
    const double exact = std::exp(static_cast<double>(x));
    const double unit = std::ldexp(1.0, std::max(std::ilogb(exact) - 23, -149));
    ASSERT_LE(std::abs(ExpOf(x) - exact), 1.5 * unit) << x;
  }
}

TEST(ExpTest, IsExactAtTheEdges) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ExpOf(0.0f), 1.0f);
  EXPECT_EQ(ExpOf(-0.0f), 1.0f);
  EXPECT_EQ(ExpOf(-kInfinity), 0.0f);
  EXPECT_EQ(ExpOf(-105.0f), 0.0f);
  EXPECT_EQ(ExpOf(88.8f), kInfinity);
  EXPECT_EQ(ExpOf(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(ExpOf(std::numeric_limits<float>::quiet_NaN())));
}

TEST(LanesTest, MaxLaneFindsItInEveryLane) {
  for (int lane = 0; lane < 16; ++lane) {
    Lanes<16>::Float wide = Lanes<16>::Float{} - 5.0f;
    wide[lane] = 2.0f;
    EXPECT_EQ(MaxLane<16>(wide), 2.0f);
    Lanes<4>::Float narrow = Lanes<4>::Float{} - 5.0f;
    narrow[lane % 4] = -1.0f;
    EXPECT_EQ(MaxLane<4>(narrow), -1.0f);
  }
}

// Loads and stores lanes of one type and compares their bits with the scalar conversions.
template <typename Element, int kLanes>
void ExpectConversionsOf(const std::vector<float>& values) {
  typename Lanes<kLanes>::Float v;
  Element stored[kLanes];
  for (size_t i = 0; i + kLanes <= values.size(); i += kLanes) {
    std::memcpy(&v, values.data() + i, sizeof(v));
    StoreLanes<kLanes>(v, stored);
    LoadLanes<kLanes>(stored, v);
    for (int lane = 0; lane < kLanes; ++lane) {
      Element expected;
      FromFloat(values[i + lane], expected);
      ASSERT_EQ(stored[lane].bits, expected.bits) << values[i + lane];
      const float loaded = v[lane];
      ASSERT_EQ(std::bit_cast<uint32_t>(loaded), std::bit_cast<uint32_t>(ToFloat(expected)))
          << values[i + lane];
    }
  }
}

// The f16 of higher sets runs in cpu_convert_test.cc, on machines that have them.
TEST(LanesTest, HalvesConvertAsOneByOne) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float half = HalfToFloat(static_cast<uint16_t>(bits));
    values.insert(values.end(), {half, std::nextafter(half, 1e30f),
                                 BFloat16ToFloat(static_cast<uint16_t>(bits)), half * 1.00024414f});
  }
  std::mt19937_64 rng(TestSeed());
  for (int i = 0; i < 100000; ++i) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(rng())));
  }
  ExpectConversionsOf<Half, 4>(values);
  ExpectConversionsOf<BFloat16, 16>(values);
  ExpectConversionsOf<BFloat16, 4>(values);
}

}  // namespace
}  // namespace quire::ops
