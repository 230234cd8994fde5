#include "ops/act_and_mul/act_and_mul.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/act_and_mul/act_and_mul_cases.h"
#include "ops/conformance.h"

namespace quire::ops::act_and_mul {
namespace {

// SiLU: e^-x to 1.5 units, a sum, a quotient and a product, each rounded. GELU: its exponent is
// rounded before e^ multiplies that error by the exponent, which only tiny results (x < -1) have
// large.
constexpr Tolerance kTolerance = {.rtol = 2e-6, .atol = 2e-7};

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

struct Problem {
  Problem(const Case& c, std::mt19937_64& rng)
      : gate_up({c.tokens, 2 * c.features}, 2 * c.features + c.gap),
        out({c.tokens, c.features}, c.features + 2 * c.gap) {
    gate_up.Assign(RandomFloats(rng, 2 * c.tokens * c.features, 0.0f, 3.0f));
    args = {.gate_up = gate_up.View(DType::kF32),
            .out = out.View(DType::kF32),
            .activation = c.activation};
  }

  std::vector<float> Result(const OpContext& context) {
    const Status status = Run(context, args);
    EXPECT_TRUE(status.ok()) << status.message();
    return out.Values();
  }

  GuardedArray<float> gate_up;
  GuardedArray<float> out;
  Args args;
};

class ActAndMulTest : public testing::TestWithParam<Case> {
 protected:
  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(Cases, ActAndMulTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST_P(ActAndMulTest, AgreesWithTheReference) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  const std::vector<float> expected = problem.Result(cpu.Context("reference"));
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    EXPECT_EQ(Mismatch(problem.Result(context), expected, kTolerance), "")
        << context.implementation;
    EXPECT_EQ(problem.out.Damage(), "") << context.implementation;
  });
  EXPECT_EQ(problem.gate_up.Damage(), "");
}

TEST_P(ActAndMulTest, EveryWidthAndThreadCountGivesTheSameBits) {
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

TEST_P(ActAndMulTest, AnElementAloneGivesTheSameBits) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = problem.Result(context);
    const int64_t features = GetParam().features;
    for (int64_t element = 0; element < GetParam().tokens * features; element += 1 + element / 7) {
      const float* row = problem.gate_up.Row(element / features);
      float pair[2] = {row[element % features], row[element % features + features]};
      const Args alone = {.gate_up = {pair, DType::kF32, {1, 2}},
                          .out = {pair, DType::kF32, {1, 1}},
                          .activation = GetParam().activation};
      ASSERT_TRUE(act_and_mul::Run(context, alone).ok());
      ASSERT_EQ(pair[0], expected[element]) << context.implementation << " element " << element;
    }
  });
}

TEST_P(ActAndMulTest, InPlaceGivesTheSameBits) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  const std::vector<float> before = problem.gate_up.Values();
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = problem.Result(context);
    Args in_place = problem.args;
    in_place.out = in_place.gate_up.Columns(0, GetParam().features);
    EXPECT_TRUE(act_and_mul::Run(context, in_place).ok());
    std::vector<float> actual;
    for (int64_t t = 0; t < GetParam().tokens; ++t) {
      const float* row = problem.gate_up.Row(t);
      actual.insert(actual.end(), row, row + GetParam().features);
      EXPECT_EQ(0, std::memcmp(row + GetParam().features,
                               before.data() + (2 * t + 1) * GetParam().features,
                               GetParam().features * sizeof(float)));
    }
    EXPECT_EQ(BitMismatch(actual, expected), "") << context.implementation;
    problem.gate_up.Assign(before);
  });
}

TEST(ActAndMulValueTest, FarFromZero) {
  CpuFixture cpu(1);
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
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

// The message of the error that `change` to a valid problem causes.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem({"", 2, 8, 0, Activation::kSilu}, rng);
  change(problem.args);
  const Status status = Run(cpu.Context(), problem.args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(ActAndMulErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = args.out.Columns(0, 4); }),
              StartsWith("invalid_argument: act_and_mul: gate_up is [2, 16], out is [2, 4]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.out = args.out.SplitLast(4); }),
              StartsWith("invalid_argument: act_and_mul: out is f32 [2, 2, 4]"));
  EXPECT_THAT(
      ErrorOf([](Args& args) { args.out = {args.out.data(), DType::kF32, {2, 8}, {1, 2}}; }),
      StartsWith("invalid_argument: act_and_mul: the last axis of out has stride 2"));
}

}  // namespace
}  // namespace quire::ops::act_and_mul
