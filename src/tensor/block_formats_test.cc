#include "tensor/block_formats.h"

#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/test_seed.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr DType kQuantizedTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                     DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Blocks of one type and their values according to an implementation that is not ours.
struct Fixture {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

template <typename T>
std::vector<T> FromHex(const std::string& text) {
  std::vector<T> out;
  for (size_t i = 0; i < text.size(); i += 2 * sizeof(T)) {
    out.push_back(static_cast<T>(std::stoul(text.substr(i, 2 * sizeof(T)), nullptr, 16)));
  }
  return out;
}

// The format of the file is described in tools/fixtures/block_formats.py.
std::map<std::string, Fixture> LoadFixtures() {
  const std::string source = __FILE__;
  std::ifstream file(source.substr(0, source.rfind('/')) + "/testdata/block_formats.txt");
  EXPECT_TRUE(file.good()) << "cannot read the fixture beside " << source;
  std::map<std::string, Fixture> fixtures;
  Fixture* current = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) {
      continue;
    }
    const size_t space = line.find(' ');
    if (line.starts_with("type ")) {
      current = &fixtures[line.substr(space + 1, line.rfind(' ') - space - 1)];
      continue;
    }
    for (const uint8_t byte : FromHex<uint8_t>(line.substr(0, space))) {
      current->blocks.push_back(std::byte{byte});
    }
    for (const uint32_t bits : FromHex<uint32_t>(line.substr(space + 1))) {
      current->values.push_back(std::bit_cast<float>(bits));
    }
  }
  return fixtures;
}

// The element values that UnpackGroups describes, in the one order of operations that
// block_formats.h gives.
std::vector<float> ValuesOfGroups(DType dtype, const void* row, int64_t elements) {
  const GroupQuantInfo info = GroupInfoOf(dtype);
  std::vector<uint8_t> codes(elements);
  std::vector<float> scales(elements / info.group);
  std::vector<float> mins(elements / info.group);
  UnpackGroups(dtype, row, elements, codes.data(), scales.data(), mins.data());
  std::vector<float> values(elements);
  for (int64_t i = 0; i < elements; ++i) {
    EXPECT_LT(codes[i], 1 << info.bits);
    EXPECT_TRUE(info.has_min || mins[i / info.group] == 0);
    values[i] =
        scales[i / info.group] * static_cast<float>(codes[i] - info.offset) + mins[i / info.group];
  }
  return values;
}

class BlockFormatTest : public testing::TestWithParam<DType> {};

TEST_P(BlockFormatTest, DequantizeRowEqualsTheFixture) {
  const auto fixtures = LoadFixtures();
  const auto found = fixtures.find(std::string(InfoOf(GetParam()).name));
  ASSERT_NE(found, fixtures.end());
  const Fixture& fixture = found->second;
  const auto elements = static_cast<int64_t>(fixture.values.size());
  ASSERT_GT(elements, 0);
  ASSERT_EQ(BytesOf(GetParam(), elements), static_cast<int64_t>(fixture.blocks.size()));

  std::vector<float> values(elements);
  DequantizeRow(GetParam(), fixture.blocks.data(), elements, values.data());
  // Equal as numbers: the two sides may differ in the sign of a zero.
  EXPECT_EQ(values, fixture.values);
}

TEST_P(BlockFormatTest, GroupsEqualDequantizeRowBitForBit) {
  std::mt19937_64 random(TestSeed());
  const DTypeInfo& info = InfoOf(GetParam());
  const int64_t elements = 16 * info.block_elements;
  std::vector<uint16_t> row(BytesOf(GetParam(), elements) / 2);
  for (int repeat = 0; repeat < 50; ++repeat) {
    for (uint16_t& word : row) {
      word = static_cast<uint16_t>(random()) & 0xfbff;  // no half of the row is infinite or NaN
    }
    std::vector<float> values(elements);
    DequantizeRow(GetParam(), row.data(), elements, values.data());
    const std::vector<float> expected = ValuesOfGroups(GetParam(), row.data(), elements);
    for (int64_t i = 0; i < elements; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected[i])) << i;
    }
  }
}

TEST_P(BlockFormatTest, BlocksAreIndependent) {
  const auto fixtures = LoadFixtures();
  const Fixture& fixture = fixtures.at(std::string(InfoOf(GetParam()).name));
  const DTypeInfo& info = InfoOf(GetParam());
  std::vector<float> values(info.block_elements);
  const std::byte* second = fixture.blocks.data() + info.block_bytes;
  DequantizeRow(GetParam(), second, info.block_elements, values.data());
  const auto first_value = fixture.values.begin() + info.block_elements;
  EXPECT_EQ(values, std::vector<float>(first_value, first_value + info.block_elements));
}

TEST_P(BlockFormatTest, PartialBlockDies) {
  const std::vector<std::byte> row(512);
  std::vector<float> values(512);
  const int64_t elements = InfoOf(GetParam()).block_elements + 1;
  EXPECT_DEATH(DequantizeRow(GetParam(), row.data(), elements, values.data()),
               "33 elements|257 elements");
}

INSTANTIATE_TEST_SUITE_P(AllTypes, BlockFormatTest, testing::ValuesIn(kQuantizedTypes),
                         [](const auto& test) { return std::string(InfoOf(test.param).name); });

TEST(BlockFormatsTest, UnpacksSixBitScalesAndMins) {
  // Sub-block j has scale 5 * j + 7 and min 63 - 6 * j, packed by hand.
  uint8_t scales[12] = {};
  for (int j = 0; j < 4; ++j) {
    const int high_scale = 5 * (j + 4) + 7;
    const int high_min = 63 - 6 * (j + 4);
    scales[j] = static_cast<uint8_t>((5 * j + 7) | (high_scale >> 4) << 6);
    scales[j + 4] = static_cast<uint8_t>((63 - 6 * j) | (high_min >> 4) << 6);
    scales[j + 8] = static_cast<uint8_t>((high_scale & 15) | (high_min & 15) << 4);
  }
  for (int j = 0; j < 8; ++j) {
    const ScaleMin unpacked = UnpackScaleMinK(scales, j);
    EXPECT_EQ(unpacked.scale, 5 * j + 7) << j;
    EXPECT_EQ(unpacked.min, 63 - 6 * j) << j;
  }
}

TEST(BlockFormatsTest, ConvertsPlainTypes) {
  const float f32[] = {1.5F, -2.0F, 1e-30F};
  const uint16_t f16[] = {FloatToHalf(1.5F), FloatToHalf(-2.0F), FloatToHalf(0x1p-24F)};
  const uint16_t bf16[] = {FloatToBFloat16(1.5F), FloatToBFloat16(-2.0F),
                           FloatToBFloat16(0x1p-100F)};
  std::vector<float> values(3);
  DequantizeRow(DType::kF32, f32, 3, values.data());
  EXPECT_EQ(values, (std::vector<float>{1.5F, -2.0F, 1e-30F}));
  DequantizeRow(DType::kF16, f16, 3, values.data());
  EXPECT_EQ(values, (std::vector<float>{1.5F, -2.0F, 0x1p-24F}));
  DequantizeRow(DType::kBF16, bf16, 3, values.data());
  EXPECT_EQ(values, (std::vector<float>{1.5F, -2.0F, 0x1p-100F}));
}

TEST(BlockFormatsTest, OtherTypesDie) {
  float value = 0;
  uint8_t code = 0;
  EXPECT_DEATH(DequantizeRow(DType::kI32, &value, 1, &value),
               "not a floating or quantized type: i32");
  EXPECT_DEATH(UnpackGroups(DType::kF32, &value, 1, &code, &value, &value),
               "not a quantized type: f32");
  EXPECT_DEATH(GroupInfoOf(DType::kF16), "not a quantized type: f16");
}

}  // namespace
}  // namespace quire
