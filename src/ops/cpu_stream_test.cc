#include "ops/cpu_stream.h"

#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/conformance.h"

namespace quire::ops {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
constexpr int64_t kMiB = int64_t{1} << 20;

class CpuStreamTest : public testing::TestWithParam<CpuIsa> {
 protected:
  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(Isas, CpuStreamTest, testing::ValuesIn(AvailableIsas()),
                         [](const auto& info) { return std::string(CpuIsaName(info.param)); });

TEST_P(CpuStreamTest, CopiesEveryLengthToEveryPlaceInALine) {
  constexpr int64_t kBytes = 400;
  const StreamFunction stream = StreamerOf(GetParam());
  GuardedArray<uint8_t> from({kBytes + 3});
  GuardedArray<uint8_t> to({kBytes});
  for (int64_t i = 0; i < kBytes + 3; ++i) {
    from.data()[i] = static_cast<uint8_t>(rng_() % 251);
  }
  for (int64_t start = 0; start < 70; ++start) {
    for (int64_t bytes = 0; start + bytes <= kBytes; bytes += bytes < 140 ? 1 : 13) {
      to.Assign(std::vector<uint8_t>(kBytes, 255));
      stream(from.data() + 3, bytes, to.data() + start);
      FinishStreaming();
      for (int64_t i = 0; i < kBytes; ++i) {
        const bool written = i >= start && i < start + bytes;
        ASSERT_EQ(to.data()[i], written ? from.data()[i - start + 3] : 255)
            << i << " of " << bytes << " bytes from " << start;
      }
    }
  }
  EXPECT_EQ(to.Damage(), "");
}

TEST_P(CpuStreamTest, RowsHaveTheSameBitsAsByOrdinaryStores) {
  constexpr int64_t kMost = 5000;  // more than a piece of any type
  for (const DType from : kTypes) {
    TypedArray in(from, {1, kMost});
    in.Assign(RandomFloats(rng_, kMost));
    for (const DType to : kTypes) {
      const RowWriter ordinary(GetParam(), from, to, false);
      const RowWriter streaming(GetParam(), from, to, true);
      for (const int64_t elements : {int64_t{0}, int64_t{1}, int64_t{64}, int64_t{130}, kMost}) {
        TypedArray expected(to, {1, elements});
        TypedArray actual(to, {1, elements});
        ordinary.Write(in.View().data(), elements, expected.View().data());
        streaming.Write(in.View().data(), elements, actual.View().data());
        streaming.Finish();
        ASSERT_EQ(actual.Bytes(), expected.Bytes()) << elements;
        ASSERT_EQ(actual.Damage(), "") << elements;
      }
    }
  }
}

TEST(StreamingPays, ForManyBytesInWholeLinesOrLongRows) {
  alignas(64) const std::byte line[64] = {};
  EXPECT_TRUE(StreamingPays(8 * kMiB, 64, line));
  EXPECT_FALSE(StreamingPays(8 * kMiB - 1, 64, line));
  EXPECT_FALSE(StreamingPays(8 * kMiB, 96, line));
  EXPECT_FALSE(StreamingPays(8 * kMiB, 128, line + 16));
  EXPECT_TRUE(StreamingPays(8 * kMiB, 1000, line + 16));
}

}  // namespace
}  // namespace quire::ops
