#include "platform/open_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "platform/cpu/cpu_device.h"

namespace quire {
namespace {

using testing::HasSubstr;

TEST(OpenDeviceTest, OpensTheCpuWithItsOptions) {
  for (const std::string_view name : {"cpu", "cpu:0"}) {
    const auto opened = OpenDevice(name, {.threads = 3, .instruction_set = "baseline"});
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_EQ(opened->device->place(), Place::Host());
    EXPECT_EQ(opened->device->properties().instruction_set, "baseline");
    EXPECT_EQ(static_cast<CpuDevice&>(*opened->device).threads(), 3);
    EXPECT_EQ(opened->reason, "");
  }
}

TEST(OpenDeviceTest, AutoAlwaysFindsADeviceAndSaysWhy) {
  const auto opened = OpenDevice("auto");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_NE(opened->reason, "");
  EXPECT_EQ(opened->device->is_asynchronous(), !opened->device->place().IsHost());
}

TEST(OpenDeviceTest, RefusalsNameTheDevice) {
  const auto error = [](std::string_view name, const DeviceOptions& options = {}) {
    const Status status = OpenDevice(name, options).status();
    return StrCat(StatusCodeName(status.code()), ": ", status.message());
  };
  for (const std::string_view name : {"cpu:", "cpu:x", "cpu:-1", "cpu:0x", "cpu:99999999999"}) {
    EXPECT_EQ(error(name), StrCat("invalid_argument: device '", name,
                                  "' is not PLATFORM, PLATFORM:INDEX or auto"));
  }
  EXPECT_EQ(error("cpu:1"), "not_found: device cpu:1 does not exist; the CPU is cpu:0");
  EXPECT_THAT(error("abacus"), HasSubstr("unsupported: device 'abacus': this build has"));
  EXPECT_THAT(error("abacus"), HasSubstr("cpu"));
  EXPECT_EQ(error("cpu", {.threads = -1}),
            "invalid_argument: thread count -1 is negative; use 0 for one per core");
  EXPECT_EQ(error("cpu", {.instruction_set = "mmx"}),
            "invalid_argument: instruction set 'mmx' is unknown; use baseline, avx2 or avx512");
}

// What holds on every device that this machine has, of whatever platform.
TEST(OpenDeviceTest, CopiesInStreamOrder) {
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    const auto device = platform.open(0, {});
    if (!device.ok()) {
      continue;  // the tests of the platform say why
    }
    const Place place = (*device)->place();
    Result<Buffer> from = (*device)->AllocatePinned(4 * sizeof(int));
    Result<Buffer> there = (*device)->Allocate(4 * sizeof(int));
    Result<Buffer> back = (*device)->AllocatePinned(4 * sizeof(int));
    ASSERT_TRUE(from.ok() && there.ok() && back.ok());
    EXPECT_TRUE(from->place().IsHost());
    EXPECT_EQ(there->place(), place);
    const Result<std::unique_ptr<Stream>> stream = (*device)->CreateStream();
    ASSERT_TRUE(stream.ok()) << stream.status().message();
    auto* const input = static_cast<int*>(from->data());
    auto* const output = static_cast<int*>(back->data());
    for (int i = 0; i < 4; ++i) {
      input[i] = i;
      output[i] = -1;
    }
    const auto copy = [&](void* to, Place to_place, const void* source, Place source_place) {
      EXPECT_TRUE((*stream)->Copy(to, to_place, source, source_place, 3 * sizeof(int)).ok());
    };
    copy(there->data(), place, input, Place::Host());
    copy(output, Place::Host(), there->data(), place);
    const Result<std::unique_ptr<Event>> event = (*stream)->Record();
    ASSERT_TRUE(event.ok());
    EXPECT_TRUE((*event)->Wait().ok());
    EXPECT_THAT(std::vector<int>(output, output + 4), testing::ElementsAre(0, 1, 2, -1));
    EXPECT_TRUE((*stream)->Copy(nullptr, Place::Host(), nullptr, Place::Host(), 0).ok());
    EXPECT_EQ((*stream)->Capture([] { return OkStatus(); }).ok(), (*device)->is_asynchronous());
    EXPECT_TRUE((*stream)->Synchronize().ok());
  }
}

}  // namespace
}  // namespace quire
