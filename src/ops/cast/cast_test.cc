#include "ops/cast/cast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/cast/cast_cases.h"
#include "ops/fixture_file.h"
#include "ops/platform_conformance.h"

namespace quire::ops::cast {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

std::vector<uint8_t> Result(const OpContext& context, Problem& problem) {
  problem.out().Assign(std::vector<float>(problem.out().Values().size(), 7.0f));
  const Status status = RunOnDevice(context, problem.args());
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem.out().Damage(), "");
  return problem.out().Bytes();
}

class CastConformance : public ConformanceTest<Case> {
 protected:
  const uint64_t seed_ = TestSeed();
  const Case case_ = Drawn(GetParam().problem, seed_);
};

INSTANTIATE_TEST_SUITE_P(All, CastConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

// There is one right answer: the bits are compared.
TEST_P(CastConformance, WritesTheBytesOfTheReference) {
  Problem problem(case_, seed_);
  if (!Accepts(ImplementationsOf, problem.args())) {
    GTEST_SKIP();
  }
  const std::vector<uint8_t> before = problem.x().Bytes();
  const std::vector<uint8_t> expected = Result(Reference(), problem);
  EXPECT_EQ(Result(Context(), problem), expected);
  EXPECT_EQ(problem.x().Bytes(), before);
}

TEST(Cast, RoundsSaturatesAndKeepsNaN) {
  CpuFixture cpu(1);
  std::vector<float> x = {1.0f, 17.0f, -500.0f, HUGE_VALF, NAN, 0x1p-10f};
  std::vector<uint8_t> out(6);
  const Args args = {.x = {x.data(), DType::kF32, {1, 6}},
                     .out = {out.data(), DType::kF8E4M3, {1, 6}},
                     .scale = {}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(cast::Run(context, args).ok());
    // 17 is halfway between 16 and 18, and half of the smallest subnormal rounds to even.
    EXPECT_THAT(out, ElementsAre(0x38, 0x58, 0xfe, 0x7e, 0x7f, 0x00)) << context.implementation;
  });
}

TEST(Cast, ScalesBeforeItRounds) {
  CpuFixture cpu(1);
  std::vector<float> x = {1.0f + 0x1p-11f, 3.0f};
  std::vector<uint16_t> out(2);
  float scale = 4.0f / 3.0f;
  const Args args = {.x = {x.data(), DType::kF32, {2, 1}},
                     .out = {out.data(), DType::kF16, {2, 1}},
                     .scale = {&scale, DType::kF32, {1}}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(cast::Run(context, args).ok());
    EXPECT_THAT(out, ElementsAre(FloatToHalf(x[0] * scale), FloatToHalf(4.0f)));
  });
}

TEST(Cast, MayWriteOverItsInput) {
  CpuFixture cpu(2);
  for (const auto& [from, to] : {std::pair{DType::kF16, DType::kBF16},
                                 {DType::kF32, DType::kF32},
                                 {DType::kF8E4M3, DType::kF8E4M3}}) {
    for (const float scale : {0.0f, 1.5f}) {
      const Case c = {.rows = 9, .elements = 77, .from = from, .to = to, .gap = 3, .scale = scale};
      Problem apart(c, 5);
      ForEachImplementation(cpu, All(), apart.args(), [&](const OpContext& context) {
        const std::vector<uint8_t> expected = Result(context, apart);
        Problem problem(c, 5);
        const TensorView x = problem.args().x;
        problem.args().out = {x.data(), to, x.shape(), {x.stride(0), 1}};
        ASSERT_TRUE(cast::Run(context, problem.args()).ok());
        EXPECT_EQ(problem.x().Bytes(), expected) << context.implementation;
        EXPECT_EQ(problem.x().Damage(), "");
      });
    }
  }
}

// The message of the error that `change` to a valid problem causes.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  Problem problem({.rows = 2, .elements = 8, .scale = 2.0f}, 1);
  change(problem.args());
  const Status status = Run(cpu.Context(), problem.args());
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(Cast, NamesWhatIsWrong) {
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = args.out.Rows(0, 1); }),
              StartsWith("invalid_argument: cast: out is [1, 8], x is [2, 8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kI32, {2, 8}}; }),
              StartsWith("invalid_argument: cast: x is i32 [2, 8] on cpu:0; it must be f32"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF32, {16}}; }),
              StartsWith("invalid_argument: cast: x is f32 [16]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF32, {2, 8}, {1, 2}}; }),
              StartsWith("invalid_argument: cast: the elements of a row of x are 2 apart"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.scale = {args.x.data(), DType::kF32, {2}}; }),
              StartsWith("invalid_argument: cast: scale is f32 [2]"));
  EXPECT_THAT(ErrorOf([](Args& args) {
                args.out = {args.out.data(), DType::kF16, {2, 8}, Place{PlatformKind::kCpu, 1}};
              }),
              StartsWith("invalid_argument: cast: out is f16 [2, 8] on cpu:1"));
}

TEST(CastFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& fixture : LoadFixture("cast")) {
    SCOPED_TRACE(fixture.name());
    TypedArray x = fixture.array("x").array();
    TypedArray expected = fixture.array("out").array();
    TypedArray out(expected.dtype(), expected.shape());
    auto scale = static_cast<float>(fixture.number("scale"));
    Args args = {.x = x.View(), .out = out.View(), .scale = {}};
    if (scale != 0) {
      args.scale = {&scale, DType::kF32, {1}};
    }
    ASSERT_TRUE(cast::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(out.Values(), expected.Values(), {}), "");
  }
}

}  // namespace
}  // namespace quire::ops::cast
