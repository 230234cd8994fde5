#include "ops/rope_and_cache/rope_and_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/platform_conformance.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"
#include "ops/rope_and_cache/rope_and_cache_cases.h"

namespace quire::ops::rope_and_cache {

namespace {

using ::testing::HasSubstr;

class RopeAndCacheConformance : public ConformanceTest<Case> {};

INSTANTIATE_TEST_SUITE_P(All, RopeAndCacheConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(RopeAndCacheConformance, HasTheBitsOfTheReference) {
  const uint64_t seed = TestSeed();
  Problem problem(GetParam().problem, seed);
  if (!Accepts(ImplementationsOf, problem.args())) {
    GTEST_SKIP();
  }
  Problem expected(GetParam().problem, seed);
  ASSERT_TRUE(rope_and_cache::Run(Reference(), expected.args()).ok());
  const Status status = RunOnDevice(Context(), problem.args());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(problem.Bytes() == expected.Bytes());
  EXPECT_EQ(problem.Scales(), expected.Scales());
  EXPECT_EQ(problem.Damage(), "");
}

// Queries and keys turn once, and the keys before they are written.
TEST(RopeAndCache, IsRopeThenReshapeAndCache) {
  for (const Case& c : ConformanceCases()) {
    SCOPED_TRACE(c.name);
    CpuFixture cpu(2);
    Problem problem(c, 5);
    ASSERT_TRUE(rope_and_cache::Run(cpu.Context(), problem.args()).ok());
    Problem expected(c, 5);
    const Args args = expected.args();
    for (const TensorView& x : {args.query, args.key}) {
      ASSERT_TRUE(
          rope::Run(cpu.Context(), {.x = x, .cos_sin = args.cos_sin, .style = args.style}).ok());
    }
    ASSERT_TRUE(reshape_and_cache::Run(cpu.Context(), {.key = args.key,
                                                       .value = args.value,
                                                       .slot_mapping = args.slot_mapping,
                                                       .cache = args.cache})
                    .ok());
    EXPECT_TRUE(problem.Bytes() == expected.Bytes());
    EXPECT_EQ(problem.Scales(), expected.Scales());
  }
}

TEST(RopeAndCache, RefusesWhatItsPartsRefuseAndTurnsNothing) {
  CpuFixture cpu(1);
  const auto expect_invalid = [&](std::string_view words, const auto& change) {
    Problem problem({}, 5);
    const auto before = problem.Bytes();
    Args args = problem.args();
    change(args);
    const Status status = rope_and_cache::Run(cpu.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(words));
    EXPECT_TRUE(problem.Bytes() == before);
  };
  expect_invalid("rope: neither of cos_sin and angles", [](Args& args) { args.cos_sin = {}; });
  expect_invalid("rope: cos_sin is", [](Args& args) { args.query = args.query.Rows(0, 3); });
  expect_invalid("value must be", [](Args& args) { args.value = args.value.Rows(0, 3); });
  expect_invalid("slot 48 of token 1 is past the cache",
                 [](Args& args) { args.slot_mapping.as<int64_t>()[1] = 48; });
  expect_invalid("they must have one type and head size", [](Args& args) {
    args.query = {args.query.data(),
                  DType::kF16,
                  args.query.shape(),
                  {args.query.stride(0), args.query.stride(1), 1}};
  });
}

}  // namespace

}  // namespace quire::ops::rope_and_cache
