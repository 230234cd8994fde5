#include "ops/rms_norm/rms_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_seed.h"
#include "ops/conformance.h"
#include "ops/rms_norm/rms_norm_cases.h"

namespace quire::ops::rms_norm {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

// One problem with its data. x and out are [T, H * D] with a gap after each row.
struct Problem {
  Problem(const Case& c, std::mt19937_64& rng)
      : x({c.tokens, Width(c)}, Width(c) + c.gap),
        weight({c.elements}),
        out({c.tokens, Width(c)}, Width(c) + c.gap),
        before(RandomFloats(rng, c.tokens * Width(c))) {
    x.Assign(RandomFloats(rng, c.tokens * Width(c), 0.5f, 3.0f));
    weight.Assign(RandomFloats(rng, c.elements, 1.0f, 0.5f));
    args = {.x = x.View(DType::kF32),
            .weight = weight.View(DType::kF32),
            .out = out.View(DType::kF32),
            .epsilon = 1e-5f,
            .accumulate = c.accumulate};
    if (c.heads > 0) {
      args.x = args.x.SplitLast(c.elements);
      args.out = args.out.SplitLast(c.elements);
    }
  }

  static int64_t Width(const Case& c) { return std::max<int64_t>(c.heads, 1) * c.elements; }

  std::vector<float> Result(const OpContext& context) {
    out.Assign(before);
    const Status status = Run(context, args);
    EXPECT_TRUE(status.ok()) << status.message();
    return out.Values();
  }

  GuardedArray<float> x;
  GuardedArray<float> weight;
  GuardedArray<float> out;
  std::vector<float> before;
  Args args;
};

class RmsNormTest : public testing::TestWithParam<Case> {
 protected:
  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(Cases, RmsNormTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST_P(RmsNormTest, AgreesWithTheReference) {
  CpuFixture cpu(2);
  const Tolerance tolerance = {.rtol = 2e-6, .atol = GetParam().atol};
  Problem problem(GetParam(), rng_);
  const std::vector<float> expected = problem.Result(cpu.Context("reference"));
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    EXPECT_EQ(Mismatch(problem.Result(context), expected, tolerance), "") << context.implementation;
    EXPECT_EQ(problem.out.Damage(), "") << context.implementation;
  });
  EXPECT_EQ(problem.x.Damage(), "");
}

TEST_P(RmsNormTest, EveryWidthAndThreadCountGivesTheSameBits) {
  CpuFixture one(1);
  CpuFixture two(2);
  Problem problem(GetParam(), rng_);
  const std::vector<float> expected = problem.Result(one.Context("vectorized"));
  ForEachImplementation(two, All(), problem.args, [&](const OpContext& context) {
    if (context.implementation != "reference") {
      EXPECT_EQ(BitMismatch(problem.Result(context), expected), "") << context.implementation;
    }
  });
}

TEST_P(RmsNormTest, ATokenAloneGivesTheSameBits) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = problem.Result(context);
    problem.out.Assign(problem.before);
    for (int64_t t = 0; t < GetParam().tokens; ++t) {
      Args row = problem.args;
      row.x = row.x.Rows(t, t + 1);
      row.out = row.out.Rows(t, t + 1);
      EXPECT_TRUE(rms_norm::Run(context, row).ok());
    }
    EXPECT_EQ(BitMismatch(problem.out.Values(), expected), "") << context.implementation;
  });
}

TEST_P(RmsNormTest, InPlaceGivesTheSameBits) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  problem.before = problem.x.Values();
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = problem.Result(context);
    problem.out.Assign(problem.before);
    Args in_place = problem.args;
    in_place.x = in_place.out;
    EXPECT_TRUE(rms_norm::Run(context, in_place).ok());
    EXPECT_EQ(BitMismatch(problem.out.Values(), expected), "") << context.implementation;
  });
}

TEST(RmsNormValueTest, OfASmallRow) {
  CpuFixture cpu(1);
  std::vector<float> x = {3, 4};
  std::vector<float> weight = {2, 1};
  std::vector<float> out(2);
  const Args args = {.x = {x.data(), DType::kF32, {1, 2}},
                     .weight = {weight.data(), DType::kF32, {2}},
                     .out = {out.data(), DType::kF32, {1, 2}},
                     .epsilon = 3.5f};  // sqrt(12.5 + 3.5) = 4
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(rms_norm::Run(context, args).ok());
    EXPECT_THAT(out, testing::ElementsAre(1.5f, 1.0f)) << context.implementation;
  });
}

// The message of the error that `change` to a valid problem causes.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem({"", 2, 0, 8, 8, false, 0}, rng);
  change(problem.args);
  const Status status = Run(cpu.Context(), problem.args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(RmsNormErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = args.out.Rows(0, 1); }),
              StartsWith("invalid_argument: rms_norm: out is [1, 8], x is [2, 8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.weight = args.weight.Columns(0, 4); }),
              StartsWith("invalid_argument: rms_norm: weight is [4] for rows of 8"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = args.weight; }),
              StartsWith("invalid_argument: rms_norm: x is f32 [8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF16, {2, 8}}; }),
              StartsWith("invalid_argument: rms_norm: x is f16"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF32, {2, 8}, {8, 2}}; }),
              StartsWith("invalid_argument: rms_norm: the last axis of x has stride 2"));
  EXPECT_THAT(ErrorOf([](Args& args) {
                args.x = {args.x.data(), DType::kF32, {2, 8}, Place{PlatformKind::kCpu, 1}};
              }),
              StartsWith("invalid_argument: rms_norm: x is f32 [2, 8] on cpu:1"));
}

}  // namespace
}  // namespace quire::ops::rms_norm
