#include "platform/cuda/cuda_tensor_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>

#include "platform/cuda/cuda_device.h"

namespace quire {
namespace {

using testing::StartsWith;

// Maps hold an address and never read it.
const void* At(uintptr_t address) {
  return std::bit_cast<const void*>(address);
}

std::array<MapAxis, 2> Rows(int64_t rows) {
  return {{{.size = 256, .box = 128}, {rows, 256, 8}}};
}

TEST(CudaTensorMapTest, SaysThatTheDriverIsMissing) {
  if (CudaDevice::Create(0).ok()) {
    GTEST_SKIP() << "this machine has a GPU";
  }
  const auto map = MapOf(At(4096), CU_TENSOR_MAP_DATA_TYPE_UINT8, Rows(9));
  EXPECT_THAT(map.status().message(), StartsWith("cudaGetDriverEntryPointByVersion failed"));
}

TEST(CudaTensorMapTest, RowsOfBytesAreAnArrayOfTwoAxes) {
  const auto device = CudaDevice::Create(0);
  if (!device.ok()) {
    GTEST_SKIP() << device.status().message();
  }
  const auto map = MapOf(At(4096), CU_TENSOR_MAP_DATA_TYPE_UINT8, Rows(9));
  const auto bytes =
      MapOfBytes({.data = At(4096), .rows = 9, .row_bytes = 256, .box_rows = 8, .box_bytes = 128});
  const auto longer = MapOf(At(4096), CU_TENSOR_MAP_DATA_TYPE_UINT8, Rows(10));
  ASSERT_TRUE(map.ok() && bytes.ok() && longer.ok());
  EXPECT_EQ(std::memcmp(&*map, &*bytes, sizeof(CUtensorMap)), 0);
  EXPECT_NE(std::memcmp(&*map, &*longer, sizeof(CUtensorMap)), 0);
}

TEST(CudaTensorMapTest, SaysWhatTheDriverRefuses) {
  const auto device = CudaDevice::Create(0);
  if (!device.ok()) {
    GTEST_SKIP() << device.status().message();
  }
  const auto map = MapOf(At(4096 + 8), CU_TENSOR_MAP_DATA_TYPE_UINT8, Rows(9));
  EXPECT_EQ(map.status().message(), "cuTensorMapEncodeTiled failed with error 1");
}

}  // namespace
}  // namespace quire
