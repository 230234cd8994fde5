#include "attention/attention_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/conformance.h"

namespace quire {

namespace {

using testing::HasSubstr;

Result<std::unique_ptr<AttentionBackend>> Choose(std::string_view name, int32_t head_dim = 64,
                                                 int32_t page_size = 16, DType dtype = DType::kF16,
                                                 PlatformKind platform = PlatformKind::kCpu) {
  std::string reason;
  auto backend = ChooseAttentionBackend(name, platform, head_dim, page_size, dtype, reason);
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
  ASSERT_TRUE(
      ChooseAttentionBackend("auto", PlatformKind::kCpu, 256, 64, DType::kBF16, reason).ok());
  EXPECT_EQ(reason, "the best on cpu for head size 256, page size 64, bf16 cache");
}

TEST(ChooseAttentionBackend, UnknownNameListsTheKnown) {
  const Status status = Choose("flash").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no attention backend is named 'flash'; use one of auto, paged_cpu");
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
