#include "attention/attention_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {

namespace {

using testing::HasSubstr;

// A device of some platform that only says what it is.
class NamedDevice final : public Device {
 public:
  explicit NamedDevice(PlatformKind platform) : platform_(platform) {}

  Place place() const override { return {platform_, 0}; }
  const DeviceProperties& properties() const override { return properties_; }
  bool is_asynchronous() const override { return false; }
  Result<Buffer> Allocate(size_t) override { return Unsupported("no memory"); }
  Result<Buffer> AllocatePinned(size_t) override { return Unsupported("no memory"); }
  Result<size_t> AvailableMemory() const override { return size_t{0}; }
  Result<std::unique_ptr<Stream>> CreateStream() override { return Unsupported("no stream"); }

 private:
  PlatformKind platform_;
  DeviceProperties properties_;
};

Result<std::unique_ptr<AttentionBackend>> Choose(std::string_view name, int32_t head_dim = 64,
                                                 int32_t page_size = 16, DType dtype = DType::kF16,
                                                 PlatformKind platform = PlatformKind::kCpu) {
  const NamedDevice device(platform);
  std::string reason;
  auto backend = ChooseAttentionBackend(
      name, {.device = &device, .head_dim = head_dim, .page_size = page_size, .cache_dtype = dtype},
      reason);
  EXPECT_EQ(backend.ok(), !reason.empty());
  return backend;
}

TEST(ChooseAttentionBackend, AutoAndByName) {
  for (const std::string_view name : {"auto", "paged_cpu"}) {
    auto backend = Choose(name);
    ASSERT_TRUE(backend.ok()) << backend.status().message();
    EXPECT_EQ((*backend)->name(), "paged_cpu");
  }
}

TEST(ChooseAttentionBackend, SaysWhy) {
  std::string reason;
  const NamedDevice device(PlatformKind::kCpu);
  ASSERT_TRUE(
      ChooseAttentionBackend(
          "auto",
          {.device = &device, .head_dim = 256, .page_size = 64, .cache_dtype = DType::kBF16},
          reason)
          .ok());
  EXPECT_EQ(reason, "the best on cpu for head size 256, page size 64, bf16 cache");
}

TEST(ChooseAttentionBackend, UnknownNameListsTheKnown) {
  const Status status = Choose("flash").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(
      status.message(),
      testing::StartsWith("no attention backend is named 'flash'; use one of auto, paged_cpu"));
}

TEST(ChooseAttentionBackend, RefusesWhatItCannotDo) {
  const auto refusal = [](auto backend) {
    EXPECT_EQ(backend.status().code(), StatusCode::kUnsupported);
    return backend.status().message();
  };
  EXPECT_THAT(refusal(Choose("auto", 72)),
              HasSubstr("head size 72 is not a multiple of 16 up to 512"));
  EXPECT_THAT(refusal(Choose("paged_cpu", 528)), HasSubstr("head size 528"));
  EXPECT_THAT(refusal(Choose("auto", 64, 48)),
              HasSubstr("page size 48 is not supported; use 1, 2, 4"));
  EXPECT_THAT(refusal(Choose("auto", 64, 512)), HasSubstr("page size 512"));
  EXPECT_THAT(refusal(Choose("auto", 64, 0)), HasSubstr("page size 0"));
  EXPECT_THAT(refusal(Choose("auto", 64, 16, DType::kQ8_0)),
              HasSubstr("use f32, f16, bf16 or f8e4m3"));
  EXPECT_THAT(refusal(Choose("auto", 64, 16, DType::kF16, PlatformKind::kAscend)),
              HasSubstr("no attention backend runs on platform ascend"));
  EXPECT_THAT(refusal(Choose("paged_cpu", 64, 16, DType::kF16, PlatformKind::kAscend)),
              HasSubstr("'paged_cpu' runs on platform cpu, not ascend"));
}

}  // namespace

}  // namespace quire
