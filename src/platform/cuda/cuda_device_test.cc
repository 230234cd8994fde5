#include "platform/cuda/cuda_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "platform/cuda/cuda_error.h"
#include "platform/open_device.h"

namespace quire {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(CudaErrorTest, NamesTheCallTheErrorAndItsNumber) {
  EXPECT_TRUE(CudaStatus(cudaSuccess, "cudaMalloc").ok());
  const Status memory = CudaStatus(cudaErrorMemoryAllocation, "cudaMalloc");
  EXPECT_EQ(memory.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(memory.message(), "cudaMalloc failed: cudaErrorMemoryAllocation (2), out of memory");
  const Status lost = CudaStatus(cudaErrorIllegalAddress, "cudaStreamSynchronize");
  EXPECT_EQ(lost.code(), StatusCode::kUnavailable);
  EXPECT_THAT(lost.message(), StartsWith("cudaStreamSynchronize failed: cudaErrorIllegalAddress "
                                         "(700), "));
  EXPECT_THAT(lost.message(), HasSubstr("the device is lost"));
  EXPECT_EQ(CudaStatus(cudaErrorInvalidValue, "f").code(), StatusCode::kInternal);
}

TEST(CudaErrorTest, NamesTheDriverThatIsMissingOrTooOld) {
  EXPECT_EQ(CheckDriver(0, 13000).message(),
            "cuda: no driver is loaded; install one for version 13.0 or newer");
  EXPECT_EQ(CheckDriver(12080, 13010).message(),
            "cuda: the driver is for version 12.8, this build needs one for 13.0 or newer");
  EXPECT_EQ(CheckDriver(12080, 13010).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(CheckDriver(13000, 13010).ok());  // any minor version of the same major one
  EXPECT_TRUE(CheckDriver(14000, 13010).ok());
}

TEST(CudaErrorTest, NamesTheCapabilityThatTheBuildLacks) {
  EXPECT_TRUE(CheckCapability("d", 9, 0, "90a").ok());
  EXPECT_TRUE(CheckCapability("d", 10, 0, "90a,100a").ok());
  EXPECT_TRUE(CheckCapability("d", 8, 9, "80,90a").ok());
  EXPECT_FALSE(CheckCapability("d", 8, 0, "89").ok());
  EXPECT_FALSE(CheckCapability("d", 10, 3, "100a").ok());
  EXPECT_TRUE(CheckCapability("d", 10, 3, "100f").ok());
  const Status status = CheckCapability("cuda:1 (NVIDIA A100)", 8, 0, "90a,100a");
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_EQ(status.message(),
            "cuda:1 (NVIDIA A100) has compute capability 8.0; this build has kernels for 90a,100a "
            "(CMake's QUIRE_CUDA_ARCHITECTURES)");
}

// On a machine without a driver or a GPU, as those are that build this.
TEST(CudaDeviceTest, SaysWhatIsMissing) {
  const auto device = CudaDevice::Create(0);
  if (device.ok()) {
    GTEST_SKIP() << "this machine has a GPU";
  }
  EXPECT_THAT(device.status().message(),
              testing::AnyOf(StartsWith("cuda: no driver is loaded; install one"),
                             StartsWith("cuda: the driver is for version"),
                             StartsWith("cuda: the driver sees no GPU"),
                             HasSubstr("has compute capability")));
  EXPECT_EQ(OpenDevice("cuda:0").status().message(), device.status().message());
  const auto opened = OpenDevice("auto");
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(opened->device->place().IsHost());
  EXPECT_THAT(opened->reason, HasSubstr(device.status().message()));
}

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<CudaDevice>> device = CudaDevice::Create(0);
    if (!device.ok()) {
      GTEST_SKIP() << device.status().message();
    }
    device_ = *std::move(device);
  }

  std::unique_ptr<CudaDevice> device_;
};

TEST_F(GpuTest, HasProperties) {
  EXPECT_EQ(PlaceName(device_->place()), "cuda:0");
  EXPECT_THAT(device_->properties().instruction_set, StartsWith("sm_"));
  EXPECT_GT(device_->properties().compute_units, 0);
  const auto available = device_->AvailableMemory();
  ASSERT_TRUE(available.ok()) << available.status().message();
  EXPECT_GT(*available, 0U);
  EXPECT_LE(*available, device_->properties().total_memory);
  EXPECT_TRUE(device_->is_asynchronous());
  EXPECT_EQ(OpenDevice("auto")->device->place(), device_->place());
}

TEST_F(GpuTest, RefusesADeviceThatIsNotThere) {
  const auto device = CudaDevice::Create(1000);
  EXPECT_EQ(device.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(device.status().message(),
              StartsWith("device cuda:1000 does not exist; this machine"));
}

TEST_F(GpuTest, RunningOutOfMemoryNamesTheBytesAndLeavesTheDeviceUsable) {
  const Status status = device_->Allocate(size_t{1} << 50).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), StartsWith("cannot allocate 1125899906842624 bytes of cuda:0: "
                                           "cudaMalloc failed: cudaErrorMemoryAllocation (2)"));
  EXPECT_TRUE(LaunchStatus("nothing").ok());
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}}) {
    const auto buffer = device_->Allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % Buffer::kAlignment, 0U);
    EXPECT_EQ(buffer->bytes(), bytes);
  }
}

class GraphTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (device_ == nullptr) {
      return;
    }
    from_ = *device_->AllocatePinned(sizeof(int));
    there_ = *device_->Allocate(sizeof(int));
    back_ = *device_->AllocatePinned(sizeof(int));
    stream_ = *device_->CreateStream();
    input() = 1;
    output() = 0;
  }
  int& input() { return *static_cast<int*>(from_.data()); }
  int& output() { return *static_cast<int*>(back_.data()); }
  Status CopyThereAndBack() {
    QUIRE_RETURN_IF_ERROR(
        stream_->Copy(there_.data(), there_.place(), from_.data(), Place::Host(), sizeof(int)));
    return stream_->Copy(back_.data(), Place::Host(), there_.data(), there_.place(), sizeof(int));
  }

  Buffer from_;
  Buffer there_;
  Buffer back_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(GraphTest, ReplaysWithWhatLiesInPinnedMemoryThen) {
  const auto graph = stream_->Capture([&] { return CopyThereAndBack(); });
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(output(), 0);  // recorded, not run
  for (const int value : {5, 7}) {
    input() = value;
    ASSERT_TRUE((*graph)->Replay(*stream_).ok());
    ASSERT_TRUE(stream_->Synchronize().ok());
    EXPECT_EQ(output(), value);
  }
}

TEST_F(GraphTest, CountsWhatWaits) {
  ASSERT_TRUE(CopyThereAndBack().ok());
  const auto event = stream_->Record();
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(device_->waits(), 0U);
  EXPECT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(device_->waits(), 1U);
  EXPECT_TRUE((*event)->Wait().ok());
  EXPECT_EQ(device_->waits(), 1U);  // the stream has come past it

  const size_t long_copy = size_t{256} << 20;
  const Buffer long_from = *device_->AllocatePinned(long_copy);
  const Buffer long_to = *device_->Allocate(long_copy);
  ASSERT_TRUE(
      stream_->Copy(long_to.data(), long_to.place(), long_from.data(), Place::Host(), long_copy)
          .ok());
  const auto later = stream_->Record();
  ASSERT_TRUE(later.ok());
  EXPECT_TRUE((*later)->Wait().ok());
  EXPECT_EQ(device_->waits(), 2U);

  int unpinned = 0;
  ASSERT_TRUE(
      stream_->Copy(&unpinned, Place::Host(), there_.data(), there_.place(), sizeof(int)).ok());
  EXPECT_EQ(device_->waits(), 3U);
}

TEST_F(GraphTest, AFailedRecordingLeavesTheStreamUsable) {
  const auto graph = stream_->Capture([&] {
    EXPECT_TRUE(CopyThereAndBack().ok());
    return Unsupported("not this");
  });
  EXPECT_EQ(graph.status().message(), "not this");
  EXPECT_FALSE(stream_->Capture([&] { return stream_->Synchronize(); }).ok());
  ASSERT_TRUE(CopyThereAndBack().ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(output(), 1);
}

}  // namespace
}  // namespace quire
