#include "ops/act_and_mul/act_and_mul.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/act_and_mul/act_and_mul_cases.h"
#include "ops/fixture_file.h"
#include "ops/row_conformance.h"

namespace quire::ops::act_and_mul {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class ActAndMulConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, ActAndMulConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(ActAndMulConformance, AgreesWithTheReference) {
  ExpectAgreement(GetParam().problem.tolerance());
}

class ActAndMulExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, ActAndMulExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(ActAndMulExactness, EveryWidthAndThreadCountGivesTheSameBits) {
  ExpectTheSameOnEveryWidthAndThreadCount();
}
TEST_P(ActAndMulExactness, ATokenAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}
TEST_P(ActAndMulExactness, InPlaceGivesTheSameBits) {
  ExpectTheSameInPlace();
}
TEST_P(ActAndMulExactness, AnElementAloneGivesTheSameBits) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(TestSeed());
  Problem problem(GetParam(), rng);
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = ResultOf(problem, context, problem.args);
    std::vector<float> actual = expected;
    const int64_t features = problem.features();
    for (int64_t e = 0; e < problem.tokens() * features; e += 1 + e / 7) {
      const Args alone = problem.Element(e / features, e % features);
      ASSERT_TRUE(act_and_mul::Run(context, alone).ok());
      actual[e] = LoadElement(alone.out.data(), alone.out.dtype(), 0);
    }
    EXPECT_EQ(BitMismatch(actual, expected), "") << context.implementation;
  });
}

// As the feed-forward layers do it, to save an array.
TEST(ActAndMulInPlaceTest, OverTheGateLeavesUp) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(TestSeed());
  Problem problem({.tokens = 9, .features = 83, .gap = 3}, rng);
  const std::vector<float> before = problem.gate_up().Values();
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> results = ResultOf(problem, context, problem.args);
    std::vector<float> expected = before;
    for (size_t i = 0; i < results.size(); ++i) {
      expected[i / 83 * 166 + i % 83] = results[i];
    }
    Args in_place = problem.args;
    in_place.out = in_place.gate_up.Columns(0, 83);
    EXPECT_TRUE(act_and_mul::Run(context, in_place).ok());
    EXPECT_EQ(BitMismatch(problem.gate_up().Values(), expected), "") << context.implementation;
    EXPECT_EQ(problem.Damage(), "") << context.implementation;
    problem.gate_up().Assign(before);
  });
}

TEST(ActAndMulValueTest, FarFromZero) {
  CpuFixture cpu(1);
  for (const Activation activation :
       {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    std::vector<float> gate_up = {0, -0.0f, 200, -200, 1e30f, -1e30f, 1, 1, 1, 1, 1, 1};
    std::vector<float> out(6);
    const Args args = {.gate_up = {gate_up.data(), DType::kF32, {1, 12}},
                       .out = {out.data(), DType::kF32, {1, 6}},
                       .activation = activation};
    ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
      ASSERT_TRUE(act_and_mul::Run(context, args).ok());
      EXPECT_THAT(out, testing::ElementsAre(0, 0, 200, 0, 1e30f, 0)) << context.implementation;
    });
  }
}

std::string ErrorOf(const std::function<void(Args&)>& change) {
  return ErrorAfter<Problem>(Case{.tokens = 2, .features = 8}, change);
}

TEST(ActAndMulErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = args.out.Columns(0, 4); }),
              StartsWith("invalid_argument: act_and_mul: gate_up is f32 [2, 16] on cpu:0, out is "
                         "f32 [2, 4]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = args.out.SplitLast(4); }),
              StartsWith("invalid_argument: act_and_mul: out is f32 [2, 2, 4]"));
  EXPECT_THAT(
      ErrorOf([](Args& args) { args.out = {args.out.data(), DType::kF32, {2, 8}, {1, 2}}; }),
      StartsWith("invalid_argument: act_and_mul: the last axis of out has stride 2"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = {args.out.data(), DType::kF16, {2, 8}}; }),
              StartsWith("invalid_argument: act_and_mul: gate_up is f32 [2, 16] on cpu:0, out is "
                         "f16 [2, 8]"));
}

TEST(ActAndMulErrorTest, NamesTheFormsOfTheInputs) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Args& args) { args.gate_up = {}; }),
              StartsWith("invalid_argument: act_and_mul: gate_up is not given, gate is not given"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.gate = args.out; }),
              StartsWith("invalid_argument: act_and_mul: gate_up is given, gate is given"));
  EXPECT_THAT(ErrorOf([](Args& args) {
                args.gate = args.gate_up;
                args.gate_up = {};
              }),
              StartsWith("invalid_argument: act_and_mul: gate is f32 [2, 16]"));
}

TEST(ActAndMulFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("act_and_mul")) {
    SCOPED_TRACE(c.name());
    TypedArray gate_up = c.array("gate_up").array();
    const std::vector<float> expected = c.array("out").floats();
    TypedArray out(gate_up.dtype(), c.array("out").shape());
    Args args = {.gate_up = gate_up.View(),
                 .out = out.View(),
                 .activation = static_cast<Activation>(c.integer("activation"))};
    ASSERT_TRUE(act_and_mul::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(out.Values(), expected, ToleranceOf(out.dtype())), "");
    args.gate = gate_up.View().Columns(0, args.out.dim(1));
    args.gate_up = {};
    ASSERT_TRUE(act_and_mul::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(out.Values(), c.array("activated").floats(), ToleranceOf(out.dtype())), "");
  }
}

}  // namespace
}  // namespace quire::ops::act_and_mul
