#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/concat_and_cache_mla/concat_and_cache_mla_cases.h"
#include "ops/fixture_file.h"
#include "ops/platform_conformance.h"

namespace quire::ops::concat_and_cache_mla {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSeed = 11;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class ConcatAndCacheMlaConformance : public ConformanceTest<Case> {
 protected:
  const uint64_t seed_ = TestSeed();
  const Case case_ = Drawn(GetParam().problem, seed_);
};

INSTANTIATE_TEST_SUITE_P(All, ConcatAndCacheMlaConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

// There is one right answer: the bits of the whole cache are compared, unused slots included.
TEST_P(ConcatAndCacheMlaConformance, WritesTheBytesOfTheReference) {
  Problem problem(case_, seed_);
  if (!Accepts(ImplementationsOf, problem.args())) {
    GTEST_SKIP();
  }
  ASSERT_TRUE(concat_and_cache_mla::Run(Reference(), problem.args()).ok());
  const std::vector<uint8_t> expected = problem.CacheBytes();
  problem.ClearCache();
  const Status status = RunOnDevice(Context(), problem.args());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(problem.CacheBytes() == expected);
  EXPECT_EQ(problem.Damage(), "");
}

// Token 1 goes to slot 6 = page 1, offset 2 of pages of 4; token 0 is skipped.
TEST(ConcatAndCacheMla, PutsTheRotaryPartBehindTheLatent) {
  CpuFixture cpu(1);
  std::vector<float> latent = {9, 9, 9, 1, 2, 3};
  std::vector<float> rope = {9, 9, 4, 5};
  std::vector<int32_t> slots = {-1, 6};
  std::vector<float> cache(size_t{2} * 4 * 5);
  const Args args = {.latent = {latent.data(), DType::kF32, {2, 3}},
                     .rope = {rope.data(), DType::kF32, {2, 2}},
                     .slot_mapping = {slots.data(), DType::kI32, {2}},
                     .cache = {.data = cache.data(),
                               .num_pages = 2,
                               .page_size = 4,
                               .latent_dim = 3,
                               .rope_dim = 2,
                               .place = {}}};
  std::vector<float> expected(cache.size());
  std::iota(expected.begin() + 6 * 5, expected.begin() + 7 * 5, 1.0f);
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    cache.assign(cache.size(), 0.0f);
    ASSERT_TRUE(concat_and_cache_mla::Run(context, args).ok());
    EXPECT_EQ(cache, expected) << context.implementation;
  });
}

TEST(ConcatAndCacheMla, ATokenAloneGetsTheSameBytes) {
  CpuFixture cpu(2);
  Problem problem({.name = "", .tokens = 90, .cache_type = DType::kF8E4M3}, kSeed);
  ForEachImplementation(cpu, All(), problem.args(), [&](const OpContext& context) {
    problem.ClearCache();
    ASSERT_TRUE(concat_and_cache_mla::Run(context, problem.args()).ok());
    const std::vector<uint8_t> expected = problem.CacheBytes();
    problem.ClearCache();
    for (int64_t token = 0; token < 90; ++token) {
      Args one = problem.args();
      one.latent = one.latent.Rows(token, token + 1);
      one.rope = one.rope.Rows(token, token + 1);
      one.slot_mapping = one.slot_mapping.Rows(token, token + 1);
      ASSERT_TRUE(concat_and_cache_mla::Run(context, one).ok());
    }
    EXPECT_TRUE(problem.CacheBytes() == expected) << context.implementation;
  });
}

// The message of the error that `change` to a valid problem causes; nothing is written.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  Problem problem({.name = "", .latent_dim = 8, .rope_dim = 4, .cache_type = DType::kF8E4M3},
                  kSeed);
  Args args = problem.args();
  change(problem, args);
  const Status status = concat_and_cache_mla::Run(cpu.Context(), args);
  EXPECT_TRUE(problem.CacheBytes() == std::vector<uint8_t>(problem.CacheBytes().size(), 0xff));
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(ConcatAndCacheMla, NamesWhatIsWrong) {
  const auto expect_invalid = [](std::string_view words, const auto& change) {
    EXPECT_THAT(ErrorOf(change),
                HasSubstr(StrCat("invalid_argument: concat_and_cache_mla: ", words)));
  };
  expect_invalid("slot 48 of token 13 is past the cache, which has 48 slots",
                 [](Problem& problem, Args&) { problem.slots()[13] = problem.num_slots(); });
  expect_invalid("latent must be f32, f16 or bf16 [17, 8]",
                 [](Problem&, Args& args) { args.latent = args.latent.Rows(0, 3); });
  expect_invalid("rope must be f32, f16 or bf16 [17, 4]",
                 [](Problem&, Args& args) { args.rope = args.rope.Columns(0, 3); });
  expect_invalid("latent is bf16 and rope f16", [](Problem&, Args& args) {
    args.rope = {args.rope.data(), DType::kF16, {17, 4}};
  });
  expect_invalid("slot_mapping must be contiguous i32 or i64 [tokens]",
                 [](Problem&, Args& args) { args.slot_mapping = args.latent; });
  expect_invalid("page size 12 is not a power of two",
                 [](Problem&, Args& args) { args.cache.page_size = 12; });
  expect_invalid("a cache of i8 is not written",
                 [](Problem&, Args& args) { args.cache.dtype = DType::kI8; });
  expect_invalid("the cache has no memory",
                 [](Problem&, Args& args) { args.cache.data = nullptr; });
  expect_invalid("the cache has no scale; a cache of f8e4m3 needs it",
                 [](Problem&, Args& args) { args.cache.scale = nullptr; });
  expect_invalid("scale is -1; it must be finite and positive",
                 [](Problem&, Args& args) { *args.cache.scale = -1; });
  expect_invalid("a cache of f16 has no scale",
                 [](Problem&, Args& args) { args.cache.dtype = DType::kF16; });
}

TEST(ConcatAndCacheMlaFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& fixture : LoadFixture("concat_and_cache_mla")) {
    SCOPED_TRACE(fixture.name());
    TypedArray latent = fixture.array("latent").array();
    TypedArray rope = fixture.array("rope").array();
    std::vector<int64_t> slots = fixture.array("slot_mapping").integers<int64_t>();
    std::vector<float> scale = fixture.array("scale").floats();
    const FixtureArray expected = fixture.array("cache");
    std::vector<int64_t> extents = expected.extents;  // [pages, page_size, elements]
    TypedArray cache(expected.dtype, expected.shape());
    cache.Assign(std::vector<float>(expected.values.size(), 0.0f));
    const bool quantized = expected.dtype == DType::kF8E4M3;
    const Args args = {.latent = latent.View(),
                       .rope = rope.View(),
                       .slot_mapping = {slots.data(), DType::kI64, {latent.shape()[0]}},
                       .cache = {.data = cache.View().data(),
                                 .dtype = expected.dtype,
                                 .num_pages = extents[0],
                                 .page_size = static_cast<int32_t>(extents[1]),
                                 .latent_dim = static_cast<int32_t>(latent.shape()[1]),
                                 .rope_dim = static_cast<int32_t>(rope.shape()[1]),
                                 .place = {},
                                 .scale = quantized ? scale.data() : nullptr}};
    ASSERT_TRUE(concat_and_cache_mla::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(cache.Values(), expected.floats(), {}), "");
  }
}

}  // namespace
}  // namespace quire::ops::concat_and_cache_mla
