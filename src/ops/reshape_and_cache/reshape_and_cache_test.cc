#include "ops/reshape_and_cache/reshape_and_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/reshape_and_cache/reshape_and_cache_cases.h"
#include "tensor/half.h"

namespace quire::ops::reshape_and_cache {

namespace {

constexpr uint64_t kSeed = 11;

class ReshapeAndCacheConformance : public testing::TestWithParam<Case> {};

TEST_P(ReshapeAndCacheConformance, WritesTheBytesOfTheReference) {
  CpuFixture cpu(3);
  Problem expected(GetParam(), kSeed);
  expected.ClearCache();
  ASSERT_TRUE(reshape_and_cache::Run(cpu.Context("reference"), expected.args()).ok());
  Problem problem(GetParam(), kSeed);
  const int count = ForEachImplementation(
      cpu, ImplementationsOf(PlatformKind::kCpu), problem.args(), [&](const OpContext& context) {
        SCOPED_TRACE(context.implementation);
        problem.ClearCache();
        const Status status = reshape_and_cache::Run(context, problem.args());
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(problem.k().Values(), expected.k().Values());
        EXPECT_EQ(problem.v().Values(), expected.v().Values());
        EXPECT_EQ(problem.k().Damage(), "");
        EXPECT_EQ(problem.v().Damage(), "");
      });
  EXPECT_GE(count, 2);
}

INSTANTIATE_TEST_SUITE_P(Cases, ReshapeAndCacheConformance, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });

// Token 1 goes to slot 6 = page 1, offset 2 of pages of 4; token 0 is skipped.
TEST(ReshapeAndCache, LaysHeadsOutWithinThePage) {
  const Case problem{.name = "layout",
                     .tokens = 2,
                     .kv_heads = 2,
                     .head_dim = 8,
                     .page_size = 4,
                     .cache_type = DType::kF16};
  CpuFixture cpu(1);
  ForEachImplementation(
      cpu, ImplementationsOf(PlatformKind::kCpu), Problem(problem, kSeed).args(),
      [&](const OpContext& context) {
        Problem memory(problem, kSeed);
        memory.ClearCache();
        memory.slots() = {-1, 6};
        Args args = memory.args();
        float* key = args.key.as<float>() + 2 * 8;  // token 1
        std::iota(key, key + 2 * 8, 1.0f);
        ASSERT_TRUE(reshape_and_cache::Run(context, args).ok());
        const auto* k = static_cast<const uint16_t*>(args.cache.k);
        for (int head = 0; head < 2; ++head) {
          const uint16_t* page_head = k + (1 * 2 + head) * 4 * 8;
          EXPECT_EQ(HalfToFloat(page_head[2 * 8]), 1.0f + 8.0f * static_cast<float>(head));
          EXPECT_EQ(HalfToFloat(page_head[2 * 8 + 7]), 8.0f + 8.0f * static_cast<float>(head));
          EXPECT_EQ(page_head[1 * 8], 0x5a5a);
          EXPECT_EQ(page_head[3 * 8], 0x5a5a);
        }
      });
}

TEST(ReshapeAndCache, SlotPastTheCacheWritesNothing) {
  const Case problem{.name = "past"};
  CpuFixture cpu(1);
  Problem memory(problem, kSeed);
  memory.ClearCache();
  const std::vector<uint8_t> before = memory.k().Values();
  memory.slots()[13] = memory.num_slots();
  const Status status = reshape_and_cache::Run(cpu.Context(), memory.args());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              testing::HasSubstr("slot 48 of token 13 is past the cache, which has 48 slots"));
  EXPECT_EQ(memory.k().Values(), before);
  EXPECT_EQ(memory.v().Values(), before);
}

TEST(ReshapeAndCache, RefusesWrongShapes) {
  CpuFixture cpu(1);
  Problem memory({.name = "shapes"}, kSeed);
  const auto expect_invalid = [&cpu](const Args& args, std::string_view words) {
    const Status status = reshape_and_cache::Run(cpu.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::HasSubstr(std::string(words)));
  };
  Args args = memory.args();
  args.key = args.key.Rows(0, 3);
  expect_invalid(args, "key must be f32 [17, 3, 64]");
  args = memory.args();
  args.value = args.value.Columns(0, 32);
  expect_invalid(args, "value must be f32 [17, 3, 64]");
  args = memory.args();
  args.slot_mapping = args.key;
  expect_invalid(args, "slot_mapping must be contiguous i32 or i64");
  args = memory.args();
  args.cache.page_size = 3;
  expect_invalid(args, "page size 3 is not a power of two");
  args = memory.args();
  args.cache.dtype = DType::kI8;
  expect_invalid(args, "a cache of i8 is not written");
}

}  // namespace

}  // namespace quire::ops::reshape_and_cache
