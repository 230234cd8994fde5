#include "ops/device_arrays.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/conformance.h"

namespace quire::ops {
namespace {

// On the CPU, where "the device" is other memory of the host.
class DeviceArraysTest : public testing::Test {
 protected:
  void CopyIn() {
    const Status status = arrays_.CopyIn();
    ASSERT_TRUE(status.ok()) << status.message();
  }
  int32_t* At(const void* data) { return static_cast<int32_t*>(arrays_.At(data)); }

  CpuFixture cpu_{1};
  DeviceArrays arrays_{cpu_.stream()};
  std::array<int32_t, 8> x_ = {0, 1, 2, 3, 4, 5, 6, 7};
  std::array<int32_t, 2> y_ = {10, 11};
};

TEST_F(DeviceArraysTest, CopiesThereAndBack) {
  arrays_.Add(x_.data(), sizeof(x_));
  arrays_.Add(y_.data(), sizeof(y_));
  CopyIn();
  EXPECT_NE(At(x_.data()), x_.data());
  EXPECT_EQ(At(x_.data())[7], 7);
  EXPECT_EQ(At(&y_[1])[0], 11);
  At(y_.data())[1] = 20;
  EXPECT_EQ(y_[1], 11);
  EXPECT_TRUE(arrays_.CopyBack().ok());
  EXPECT_THAT(y_, testing::ElementsAre(10, 20));
  EXPECT_THAT(x_, testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST_F(DeviceArraysTest, SharedMemoryStaysShared) {
  AddArrays{arrays_}(TensorView(&x_[2], DType::kI32, {2, 2}, {3, 1}));  // x[2], x[3], x[5], x[6]
  AddArrays{arrays_}(TensorView(&x_[4], DType::kI32, {4}));
  CopyIn();
  EXPECT_EQ(At(&x_[6]), At(&x_[2]) + 4);
  EXPECT_EQ(At(&x_[7])[0], 7);
  EXPECT_EQ(arrays_.At(&x_[1]), nullptr);
}

TEST_F(DeviceArraysTest, KeepsTheAlignmentOfTheHost) {
  arrays_.Add(&x_[1], 4);
  CopyIn();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(At(&x_[1])) % Buffer::kAlignment,
            reinterpret_cast<uintptr_t>(&x_[1]) % Buffer::kAlignment);
}

TEST_F(DeviceArraysTest, NoticesWritesBesideTheArrays) {
  for (const int at : {-1, 8}) {
    DeviceArrays arrays(cpu_.stream());
    arrays.Add(x_.data(), sizeof(x_));
    ASSERT_TRUE(arrays.CopyIn().ok());
    static_cast<int32_t*>(arrays.At(x_.data()))[at] = 0;
    EXPECT_EQ(arrays.CopyBack().code(), StatusCode::kInternal) << at;
  }
}

}  // namespace
}  // namespace quire::ops
