#include "ops/reshape_and_cache/reshape_and_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/fixture_file.h"
#include "ops/platform_conformance.h"
#include "ops/reshape_and_cache/reshape_and_cache_cases.h"

namespace quire::ops::reshape_and_cache {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSeed = 11;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class ReshapeAndCacheConformance : public ConformanceTest<Case> {
 protected:
  const uint64_t seed_ = TestSeed();
  const Case case_ = Drawn(GetParam().problem, seed_);
};

INSTANTIATE_TEST_SUITE_P(All, ReshapeAndCacheConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

// There is one right answer: the bits of the whole cache are compared, unused slots included.
TEST_P(ReshapeAndCacheConformance, WritesTheBytesOfTheReference) {
  Problem problem(case_, seed_);
  if (!Accepts(ImplementationsOf, problem.args())) {
    GTEST_SKIP();
  }
  ASSERT_TRUE(reshape_and_cache::Run(Reference(), problem.args()).ok());
  const auto expected = problem.CacheBytes();
  const auto check = [&](const auto& run) {
    problem.ClearCache();
    const Status status = run(Context(), problem.args());
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(problem.CacheBytes() == expected);
    EXPECT_EQ(problem.Damage(), "");
  };
  check(RunOnDevice<Args>);
  if (GetParam().platform != PlatformKind::kCpu) {  // which records nothing
    check(RunRecordedOnDevice<Args>);
  }
}

// Token 1 goes to slot 6 = page 1, offset 2 of pages of 4; token 0 is skipped.
TEST(ReshapeAndCache, LaysHeadsOutWithinThePage) {
  CpuFixture cpu(1);
  for (const PageOrder order : {PageOrder::kHnd, PageOrder::kNhd}) {
    const Case problem{
        .name = "", .tokens = 2, .kv_heads = 2, .head_dim = 8, .page_size = 4, .order = order};
    ForEachImplementation(
        cpu, All(), Problem(problem, kSeed).args(), [&](const OpContext& context) {
          Problem memory(problem, kSeed);
          memory.slots() = {-1, 6};
          Args args = memory.args();
          float* key = args.key.as<float>() + 2 * 8;  // token 1
          std::iota(key, key + 2 * 8, 1.0f);
          ASSERT_TRUE(reshape_and_cache::Run(context, args).ok());
          const auto* k = static_cast<const uint16_t*>(args.cache.k);
          int written = 0;
          for (int row = 0; row < 2 * 2 * 4; ++row) {
            const int head = order == PageOrder::kHnd ? row / 4 % 2 : row % 2;
            const int slot = order == PageOrder::kHnd ? row / 8 * 4 + row % 4 : row / 2;
            for (int d = 0; d < 8; ++d) {
              const uint16_t expected = FloatToHalf(static_cast<float>(1 + 8 * head + d));
              EXPECT_EQ(k[row * 8 + d], slot == 6 ? expected : 0xffff) << row;
            }
            written += slot == 6 ? 1 : 0;
          }
          EXPECT_EQ(written, 2);
        });
  }
}

TEST(ReshapeAndCache, ATokenAloneGetsTheSameBytes) {
  CpuFixture cpu(2);
  const Case c = {
      .name = "", .tokens = 90, .cache_type = DType::kF8E4M3, .scaling = KvScaling::kPerTokenHead};
  Problem problem(c, kSeed);
  ForEachImplementation(cpu, All(), problem.args(), [&](const OpContext& context) {
    problem.ClearCache();
    ASSERT_TRUE(reshape_and_cache::Run(context, problem.args()).ok());
    const auto expected = problem.CacheBytes();
    problem.ClearCache();
    for (int64_t token = 0; token < c.tokens; ++token) {
      Args one = problem.args();
      one.key = one.key.Rows(token, token + 1);
      one.value = one.value.Rows(token, token + 1);
      one.slot_mapping = one.slot_mapping.Rows(token, token + 1);
      ASSERT_TRUE(reshape_and_cache::Run(context, one).ok());
    }
    EXPECT_TRUE(problem.CacheBytes() == expected) << context.implementation;
  });
}

// What one token of one head and four elements leaves in an f8e4m3 cache with scales per token.
struct Quantized {
  std::vector<uint8_t> k;
  float scale = 0;
};

Quantized QuantizedRow(const OpContext& context, std::vector<float> row) {
  Quantized result = {std::vector<uint8_t>(4), 0};
  std::vector<uint8_t> v(4);
  float v_scale = 0;
  int32_t slot = 0;
  const Args args = {.key = {row.data(), DType::kF32, {1, 1, 4}},
                     .value = {row.data(), DType::kF32, {1, 1, 4}},
                     .slot_mapping = {&slot, DType::kI32, {1}},
                     .cache = {.k = result.k.data(),
                               .v = v.data(),
                               .dtype = DType::kF8E4M3,
                               .num_pages = 1,
                               .num_kv_heads = 1,
                               .page_size = 1,
                               .head_dim = 4,
                               .place = {},
                               .scaling = KvScaling::kPerTokenHead,
                               .k_scale = &result.scale,
                               .v_scale = &v_scale}};
  EXPECT_TRUE(reshape_and_cache::Run(context, args).ok());
  EXPECT_EQ(result.k, v);
  EXPECT_EQ(result.scale, v_scale);
  return result;
}

TEST(ReshapeAndCache, AScalePerTokenAndHeadFitsTheRow) {
  using testing::ElementsAre;
  CpuFixture cpu(1);
  for (const Implementation<Args>& implementation : All()) {
    const OpContext context = cpu.Context(implementation.name);
    Quantized row = QuantizedRow(context, {-7.0f, 3.5f, 0.0f, -0.0f});
    EXPECT_EQ(row.scale, 7.0f / 448);
    EXPECT_THAT(row.k, ElementsAre(0xfe, 0x76, 0x00, 0x80));
    row = QuantizedRow(context, {0, 0, 0, 0});
    EXPECT_EQ(row.scale, 1.0f);
    EXPECT_THAT(row.k, ElementsAre(0, 0, 0, 0));
    // The finite elements decide the scale.
    row = QuantizedRow(context, {HUGE_VALF, NAN, -448.0f, 1.0f});
    EXPECT_EQ(row.scale, 1.0f);
    EXPECT_THAT(row.k, ElementsAre(0x7e, 0x7f, 0xfe, 0x38));
    row = QuantizedRow(context, {NAN, NAN, -HUGE_VALF, 0.0f});
    EXPECT_EQ(row.scale, 1.0f);
    EXPECT_THAT(row.k, ElementsAre(0x7f, 0x7f, 0xfe, 0x00));
    row = QuantizedRow(context, {0x1p-126f, 0x1p-140f, 0.0f, 0.0f});
    EXPECT_EQ(row.scale, 0x1p-126f);
    EXPECT_THAT(row.k, ElementsAre(0x38, 0x00, 0x00, 0x00));
  }
}

TEST(ReshapeAndCache, SlotPastTheCacheWritesNothing) {
  CpuFixture cpu(1);
  Problem memory({.name = "past"}, kSeed);
  const auto before = memory.CacheBytes();
  memory.slots()[13] = memory.num_slots();
  const Status status = reshape_and_cache::Run(cpu.Context(), memory.args());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              HasSubstr("slot 48 of token 13 is past the cache, which has 48 slots"));
  EXPECT_TRUE(memory.CacheBytes() == before);
}

// The message of the error that `change` to a valid problem causes.
template <typename Change>
std::string ErrorOf(const Case& c, const Change& change) {
  CpuFixture cpu(1);
  Problem problem(c, kSeed);
  const auto before = problem.CacheBytes();
  Args args = problem.args();
  change(args);
  const Status status = reshape_and_cache::Run(cpu.Context(), args);
  EXPECT_TRUE(problem.CacheBytes() == before);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(ReshapeAndCache, RefusesWrongShapes) {
  const auto expect_invalid = [](std::string_view words, const auto& change) {
    EXPECT_THAT(ErrorOf({.name = ""}, change),
                HasSubstr(StrCat("invalid_argument: reshape_and_cache: ", words)));
  };
  expect_invalid("key must be f32, f16 or bf16 [17, 3, 64]",
                 [](Args& args) { args.key = args.key.Rows(0, 3); });
  expect_invalid("value must be f32, f16 or bf16 [17, 3, 64]",
                 [](Args& args) { args.value = args.value.Columns(0, 32); });
  expect_invalid("value must be f32, f16 or bf16 [17, 3, 32]",
                 [](Args& args) { args.cache.value_head_dim = 32; });
  expect_invalid("key is f32 and value f16", [](Args& args) {
    args.value = {args.value.data(), DType::kF16, args.value.shape()};
  });
  expect_invalid("slot_mapping must be contiguous i32 or i64",
                 [](Args& args) { args.slot_mapping = args.key; });
  expect_invalid("page size 3 is not a power of two", [](Args& args) { args.cache.page_size = 3; });
  expect_invalid("a cache of i8 is not written", [](Args& args) { args.cache.dtype = DType::kI8; });
  expect_invalid("the cache has no memory", [](Args& args) { args.cache.v = nullptr; });
  expect_invalid("the elements of a row of key must be contiguous, not 2 apart", [](Args& args) {
    args.key = {args.key.data(), DType::kF32, {17, 3, 64}, {0, 0, 2}};
  });
}

TEST(ReshapeAndCache, RefusesWrongScales) {
  const Case quantized = {
      .name = "", .cache_type = DType::kF8E4M3, .scaling = KvScaling::kPerTensor};
  EXPECT_THAT(ErrorOf({.name = ""}, [](Args& args) { args.cache.scaling = KvScaling::kPerTensor; }),
              HasSubstr("a cache of f16 has no scales"));
  EXPECT_THAT(ErrorOf(quantized, [](Args& args) { args.cache.scaling = KvScaling::kNone; }),
              HasSubstr("a cache of f8e4m3 needs scales"));
  EXPECT_THAT(ErrorOf(quantized, [](Args& args) { args.cache.v_scale = nullptr; }),
              HasSubstr("the cache has no v_scale"));
  EXPECT_THAT(ErrorOf(quantized,
                      [](Args& args) {
                        args.cache.scaling = KvScaling::kPerTokenHead;
                        args.cache.k_scale = nullptr;
                      }),
              HasSubstr("no memory for the scales"));
  float zero = 0;
  EXPECT_THAT(ErrorOf(quantized, [&zero](Args& args) { args.cache.k_scale = &zero; }),
              HasSubstr("k_scale is 0; it must be finite and positive"));
}

// A page array of a fixture, all of it zero before the write.
TypedArray Pages(const FixtureArray& array) {
  TypedArray pages(array.dtype, array.shape());
  pages.Assign(std::vector<float>(array.values.size(), 0.0f));
  return pages;
}

TEST(ReshapeAndCacheFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& fixture : LoadFixture("reshape_and_cache")) {
    SCOPED_TRACE(fixture.name());
    TypedArray key = fixture.array("key").array();
    TypedArray value = fixture.array("value").array();
    std::vector<int64_t> slots = fixture.array("slot_mapping").integers<int64_t>();
    const bool nhd = fixture.integer("nhd") != 0;
    const auto scaling = static_cast<KvScaling>(fixture.integer("scaling"));
    const FixtureArray k_cache = fixture.array("k_cache");
    TypedArray k = Pages(k_cache);
    TypedArray v = Pages(fixture.array("v_cache"));
    std::vector<float> k_scale = fixture.array("k_scale").floats();
    std::vector<float> v_scale = fixture.array("v_scale").floats();
    if (scaling == KvScaling::kPerTokenHead) {
      k_scale.assign(k_scale.size(), 0.0f);
      v_scale.assign(v_scale.size(), 0.0f);
    }
    const PagedKvView cache = {.k = k.View().data(),
                               .v = v.View().data(),
                               .dtype = k_cache.dtype,
                               .num_pages = k_cache.extents[0],
                               .num_kv_heads = static_cast<int32_t>(k_cache.extents[nhd ? 2 : 1]),
                               .page_size = static_cast<int32_t>(k_cache.extents[nhd ? 1 : 2]),
                               .head_dim = static_cast<int32_t>(key.shape()[2]),
                               .place = {},
                               .order = nhd ? PageOrder::kNhd : PageOrder::kHnd,
                               .value_head_dim = static_cast<int32_t>(value.shape()[2]),
                               .scaling = scaling,
                               .k_scale = k_scale.data(),
                               .v_scale = v_scale.data()};
    const Args args = {.key = key.View(),
                       .value = value.View(),
                       .slot_mapping = {slots.data(), DType::kI64, {key.shape()[0]}},
                       .cache = cache};
    ASSERT_TRUE(reshape_and_cache::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(k.Values(), k_cache.floats(), {}), "");
    EXPECT_EQ(Mismatch(v.Values(), fixture.array("v_cache").floats(), {}), "");
    EXPECT_EQ(Mismatch(k_scale, fixture.array("k_scale").floats(), {}), "");
    EXPECT_EQ(Mismatch(v_scale, fixture.array("v_scale").floats(), {}), "");
  }
}

}  // namespace
}  // namespace quire::ops::reshape_and_cache
