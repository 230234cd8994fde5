#include "ops/layer_norm/layer_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/fixture_file.h"
#include "ops/layer_norm/layer_norm_cases.h"
#include "ops/row_conformance.h"

namespace quire::ops::layer_norm {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class LayerNormConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, LayerNormConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(LayerNormConformance, AgreesWithTheReference) {
  ExpectAgreement(GetParam().problem.tolerance());
}

class LayerNormExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, LayerNormExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(LayerNormExactness, EveryWidthAndThreadCountGivesTheSameBits) {
  ExpectTheSameOnEveryWidthAndThreadCount();
}
TEST_P(LayerNormExactness, ATokenAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}
TEST_P(LayerNormExactness, InPlaceGivesTheSameBits) {
  ExpectTheSameInPlace();
}

TEST(LayerNormValueTest, OfASmallRow) {
  CpuFixture cpu(1);
  std::vector<float> x = {1, 5};  // mean 3, variance 4
  std::vector<float> weight = {2, 1};
  std::vector<float> bias = {10, 20};
  std::vector<float> out(2);
  Args args = {.x = {x.data(), DType::kF32, {1, 2}},
               .weight = {weight.data(), DType::kF32, {2}},
               .out = {out.data(), DType::kF32, {1, 2}},
               .epsilon = 12.0f};  // sqrt(4 + 12) = 4
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    args.bias = {};
    ASSERT_TRUE(layer_norm::Run(context, args).ok());
    EXPECT_THAT(out, testing::ElementsAre(-1.0f, 0.5f)) << context.implementation;
    args.bias = {bias.data(), DType::kF32, {2}};
    ASSERT_TRUE(layer_norm::Run(context, args).ok());
    EXPECT_THAT(out, testing::ElementsAre(9.0f, 20.5f)) << context.implementation;
  });
}

TEST(LayerNormErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  const auto error = [](const std::function<void(Args&)>& change) {
    return ErrorAfter<Problem>(Case{.tokens = 2, .elements = 8, .gap = 8}, change);
  };
  EXPECT_THAT(error([](Args& args) { args.out = args.out.Rows(0, 1); }),
              StartsWith("invalid_argument: layer_norm: out is f32 [1, 8] on cpu:0, x is f32 [2"));
  EXPECT_THAT(error([](Args& args) { args.weight = args.weight.Columns(0, 4); }),
              StartsWith("invalid_argument: layer_norm: weight is f32 [4] on cpu:0 for x f32 [2"));
  EXPECT_THAT(
      error([](Args& args) { args.bias = args.bias.Columns(0, 4); }),
      StartsWith("invalid_argument: layer_norm: bias is f32 [4] on cpu:0, weight is f32 ["));
  EXPECT_THAT(error([](Args& args) { args.x = args.weight; }),
              StartsWith("invalid_argument: layer_norm: x is f32 [8]"));
  EXPECT_THAT(error([](Args& args) { args.x = {args.x.data(), DType::kI8, {2, 8}}; }),
              StartsWith("invalid_argument: layer_norm: x is i8"));
}

TEST(LayerNormFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("layer_norm")) {
    SCOPED_TRACE(c.name());
    TypedArray x = c.array("x").array();
    TypedArray weight = c.array("weight").array();
    TypedArray bias = c.array(c.has("bias") ? "bias" : "weight").array();
    TypedArray out(x.dtype(), x.shape());
    const Args args = {.x = x.View(),
                       .weight = weight.View(),
                       .bias = c.has("bias") ? bias.View() : TensorView(),
                       .out = out.View(),
                       .epsilon = static_cast<float>(c.number("epsilon"))};
    ASSERT_TRUE(layer_norm::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), ToleranceOf(x.dtype())), "");
  }
}

}  // namespace
}  // namespace quire::ops::layer_norm
