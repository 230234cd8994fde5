#include "ops/rms_norm/rms_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/fixture_file.h"
#include "ops/rms_norm/rms_norm_cases.h"
#include "ops/row_conformance.h"

namespace quire::ops::rms_norm {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class RmsNormConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, RmsNormConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(RmsNormConformance, AgreesWithTheReference) {
  ExpectAgreement(GetParam().problem.tolerance());
}

class RmsNormExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, RmsNormExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(RmsNormExactness, EveryWidthAndThreadCountGivesTheSameBits) {
  ExpectTheSameOnEveryWidthAndThreadCount();
}
TEST_P(RmsNormExactness, ATokenAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}
TEST_P(RmsNormExactness, InPlaceGivesTheSameBits) {
  ExpectTheSameInPlace();
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

// 1 + 2^-8 lies between two bf16 numbers: the sum is 1, and that is what the norm must see.
TEST(RmsNormValueTest, NormsTheRoundedSum) {
  CpuFixture cpu(1);
  TypedArray x(DType::kBF16, {1, 2});
  TypedArray residual(DType::kBF16, {1, 2});
  TypedArray weight(DType::kF32, {2});
  TypedArray out(DType::kBF16, {1, 2});
  weight.Assign(std::vector<float>{-0.5f, 1.0f});
  const Args args = {.x = x.View(),
                     .weight = weight.View(),
                     .out = out.View(),
                     .epsilon = 0.0f,
                     .residual = residual.View(),
                     .weight_offset = 1.0f};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    x.Assign(std::vector<float>{0x1p-8f, 0.5f});
    residual.Assign(std::vector<float>{1.0f, -1.5f});
    ASSERT_TRUE(rms_norm::Run(context, args).ok());
    EXPECT_THAT(residual.Values(), testing::ElementsAre(1, -1)) << context.implementation;
    EXPECT_THAT(out.Values(), testing::ElementsAre(0.5f, -2.0f)) << context.implementation;
  });
}

std::string ErrorOf(const std::function<void(Args&)>& change) {
  return ErrorAfter<Problem>(Case{.tokens = 2, .elements = 8, .gap = 8, .residual = true}, change);
}

TEST(RmsNormErrorTest, NamesTheWrongShape) {
  using testing::StartsWith;
  EXPECT_THAT(
      ErrorOf([](Args& args) { args.out = args.out.Rows(0, 1); }),
      StartsWith("invalid_argument: rms_norm: out is f32 [1, 8] on cpu:0, x is f32 [2, 8]"));
  EXPECT_THAT(
      ErrorOf([](Args& args) { args.weight = args.weight.Columns(0, 4); }),
      StartsWith("invalid_argument: rms_norm: weight is f32 [4] on cpu:0 for x f32 [2, 8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = args.weight; }),
              StartsWith("invalid_argument: rms_norm: x is f32 [8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.residual = args.residual.Columns(0, 4); }),
              StartsWith("invalid_argument: rms_norm: residual is f32 [2, 4]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF32, {2, 8}, {8, 2}}; }),
              StartsWith("invalid_argument: rms_norm: the last axis of x has stride 2"));
}

TEST(RmsNormErrorTest, NamesTheWrongTypeOrPlace) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kI32, {2, 8}}; }),
              StartsWith("invalid_argument: rms_norm: x is i32"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF16, {2, 8}}; }),
              StartsWith("invalid_argument: rms_norm: out is f32 [2, 8] on cpu:0, x is f16"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.weight = {args.x.data(), DType::kF16, {8}}; }),
              StartsWith("invalid_argument: rms_norm: weight is f16 [8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.residual = args.out; }),
              StartsWith("invalid_argument: rms_norm: residual is out; it must"));
  EXPECT_THAT(ErrorOf([](Args& args) {
                args.x = {args.x.data(), DType::kF32, {2, 8}, Place{PlatformKind::kCpu, 1}};
              }),
              StartsWith("invalid_argument: rms_norm: x is f32 [2, 8] on cpu:1"));
}

TEST(RmsNormFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("rms_norm")) {
    SCOPED_TRACE(c.name());
    TypedArray x = c.array("x").array();
    TypedArray weight = c.array("weight").array();
    TypedArray residual = c.array(c.has("residual") ? "residual" : "x").array();
    TypedArray out(x.dtype(), x.shape());
    const Args args = {.x = x.View(),
                       .weight = weight.View(),
                       .out = out.View(),
                       .epsilon = static_cast<float>(c.number("epsilon")),
                       .residual = c.has("residual") ? residual.View() : TensorView(),
                       .weight_offset = static_cast<float>(c.number("weight_offset"))};
    ASSERT_TRUE(rms_norm::Run(cpu.Context("reference"), args).ok());
    const Tolerance tolerance = ToleranceOf(x.dtype());
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), tolerance), "");
    if (c.has("residual")) {
      EXPECT_EQ(BitMismatch(residual.Values(), c.array("residual_out").floats()), "");
    }
  }
}

}  // namespace
}  // namespace quire::ops::rms_norm
