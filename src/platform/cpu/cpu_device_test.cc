#include "platform/cpu/cpu_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <vector>

namespace quire {
namespace {

using testing::HasSubstr;

TEST(CpuDeviceTest, DescribesTheMachine) {
  const auto device = CpuDevice::Create(0);
  ASSERT_TRUE(device.ok()) << device.status().message();
  const DeviceProperties& properties = (*device)->properties();
  EXPECT_GE(properties.compute_units, 1);
  EXPECT_EQ((*device)->threads(), properties.compute_units);
  EXPECT_EQ(properties.instruction_set, CpuIsaName(DetectCpuIsa()));
  EXPECT_GT(properties.total_memory, size_t{1} << 20);
  EXPECT_TRUE((*device)->place().IsHost());
  const auto available = (*device)->AvailableMemory();
  ASSERT_TRUE(available.ok()) << available.status().message();
  EXPECT_GT(*available, 0U);
  EXPECT_LE(*available, properties.total_memory);
}

TEST(CpuDeviceTest, ThreadsAndInstructionSetAreOptions) {
  const auto device = CpuDevice::Create(3, CpuIsa::kBaseline);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ((*device)->threads(), 3);
  EXPECT_EQ((*device)->isa(), CpuIsa::kBaseline);
  EXPECT_EQ((*device)->properties().instruction_set, "baseline");
  EXPECT_EQ(CpuDevice::Create(-1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(CpuDevice::Create(-1).status().message(), HasSubstr("thread count -1"));
}

TEST(CpuDeviceTest, RefusesWhatTheMachineLacks) {
  if (DetectCpuIsa() == CpuIsa::kAvx512) {
    GTEST_SKIP() << "this machine has every instruction set";
  }
  const Status status = CpuDevice::Create(1, CpuIsa::kAvx512).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("'avx512'"));
}

TEST(CpuDeviceTest, AllocatesAlignedMemory) {
  const auto device = CpuDevice::Create(1);
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{100'001}}) {
    const Result<Buffer> buffer = (*device)->Allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(buffer->place(), Place::Host());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % Buffer::kAlignment, 0U);
    std::memset(buffer->data(), 1, bytes);
  }
}

// Pages of [data, +bytes) that the system has given already.
size_t PagesPresent(void* data, size_t bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
  std::vector<unsigned char> present(bytes / page);
  EXPECT_EQ(::mincore(data, bytes, present.data()), 0);
  return static_cast<size_t>(std::count(present.begin(), present.end(), 1));
}

TEST(CpuDeviceTest, PopulatesMemoryAndKeepsWhatLiesThere) {
  constexpr size_t kBytes = size_t{32} << 20;
  const auto device = CpuDevice::Create(1);
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
  const Result<Buffer> buffer = (*device)->Allocate(kBytes + page);
  ASSERT_TRUE(buffer.ok());
  const auto address = reinterpret_cast<uintptr_t>(buffer->data());
  auto* const bytes = reinterpret_cast<unsigned char*>((address + page - 1) / page * page);
  bytes[kBytes / 2 + 100] = 7;
  if (!(*device)->Populate(bytes + kBytes / 2, kBytes / 4)) {
    GTEST_SKIP() << "a system before Linux 5.14, or little memory";
  }
  EXPECT_EQ(bytes[kBytes / 2 + 100], 7);
  EXPECT_EQ(PagesPresent(bytes + kBytes / 2, kBytes / 4), kBytes / 4 / page);
  EXPECT_LT(PagesPresent(bytes, kBytes), kBytes / page);
}

// Sizes on both sides of what lies alone, in a region, and in pages of its own.
TEST(CpuDeviceTest, BuffersOfAllSizesStandApart) {
  constexpr size_t kKib = 1024;
  auto device = CpuDevice::Create(1);
  std::vector<Buffer> buffers;
  for (int round = 0; round < 3; ++round) {
    for (const size_t kib : {1, 63, 64, 65, 2048, 16 * 1024, 16 * 1024 + 1, 33 * 1024}) {
      Result<Buffer> buffer = (*device)->Allocate(kib * kKib + static_cast<size_t>(round));
      ASSERT_TRUE(buffer.ok());
      buffers.push_back(*std::move(buffer));
    }
  }
  for (size_t i = 0; i < buffers.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffers[i].data()) % Buffer::kAlignment, 0U);
    std::memset(buffers[i].data(), static_cast<int>(i), buffers[i].bytes());
  }
  device->reset();  // buffers outlive it
  for (size_t i = 0; i < buffers.size(); ++i) {
    const auto* bytes = static_cast<const unsigned char*>(buffers[i].data());
    EXPECT_EQ(bytes[0], i);
    EXPECT_EQ(bytes[buffers[i].bytes() - 1], i);
  }
}

// The address space that this process has mapped.
int64_t MappedPages() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages;
}

TEST(CpuDeviceTest, MemoryOfFreedBuffersGoesBack) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer keeps freed memory to find late uses of it";
#endif
  const auto device = CpuDevice::Create(1);
  const int64_t before = MappedPages();
  for (int round = 0; round < 10; ++round) {
    std::vector<Buffer> buffers;
    for (int i = 0; i < 64; ++i) {
      Result<Buffer> buffer = (*device)->Allocate(size_t{12} << 20);
      ASSERT_TRUE(buffer.ok()) << buffer.status().message();
      buffers.push_back(*std::move(buffer));
    }
  }
  const int64_t bytes = (MappedPages() - before) * ::sysconf(_SC_PAGE_SIZE);
  EXPECT_LE(bytes, 64 << 20);  // the region that the next buffers come from
}

TEST(CpuDeviceTest, RefusesMoreThanTheMachineHas) {
  const auto device = CpuDevice::Create(1);
  for (const size_t bytes : {size_t{1} << 60, std::numeric_limits<size_t>::max()}) {
    const Status status = (*device)->Allocate(bytes).status();
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
    EXPECT_THAT(status.message(), HasSubstr(StrCat("cannot allocate ", bytes, " bytes")));
  }
}

TEST(CpuDeviceTest, Bf16ProductsComeWithTheHighestSetAlone) {
  const auto best = CpuDevice::Create(1);
  EXPECT_EQ((*best)->has_bf16_products(), DetectBf16Products());
  EXPECT_TRUE(DetectCpuIsa() == CpuIsa::kAvx512 || !DetectBf16Products());
  const auto baseline = CpuDevice::Create(1, CpuIsa::kBaseline);
  EXPECT_FALSE((*baseline)->has_bf16_products());
}

TEST(CpuStreamTest, HasTheDevicesThreads) {
  const auto device = CpuDevice::Create(2);
  Result<std::unique_ptr<Stream>> stream = (*device)->CreateStream();
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(&(*stream)->device(), device->get());
  CpuStream& cpu = AsCpuStream(**stream);
  EXPECT_EQ(cpu.threads().size(), 2);
  EXPECT_EQ(cpu.isa(), DetectCpuIsa());
}

TEST(CpuStreamTest, CountsWhoAsksToWait) {
  const auto device = CpuDevice::Create(1);
  const auto stream = (*device)->CreateStream();
  const auto event = (*stream)->Record();
  EXPECT_EQ((*device)->waits(), 0U);
  EXPECT_TRUE((*stream)->Synchronize().ok());
  EXPECT_TRUE((*event)->Wait().ok());
  EXPECT_EQ((*device)->waits(), 2U);
}

TEST(CpuIsaTest, Names) {
  EXPECT_EQ(CpuIsaName(CpuIsa::kBaseline), "baseline");
  EXPECT_EQ(CpuIsaName(CpuIsa::kAvx2), "avx2");
  EXPECT_EQ(CpuIsaName(CpuIsa::kAvx512), "avx512");
}

}  // namespace
}  // namespace quire
