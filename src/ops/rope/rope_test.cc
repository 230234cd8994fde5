#include "ops/rope/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/fixture_file.h"
#include "ops/rope/rope_cases.h"
#include "ops/row_conformance.h"

namespace quire::ops::rope {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class RopeConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, RopeConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(RopeConformance, AgreesWithTheReference) {
  ExpectAgreement(GetParam().problem.tolerance());
}

class RopeExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, RopeExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(RopeExactness, EveryWidthAndThreadCountGivesTheSameBits) {
  ExpectTheSameOnEveryWidthAndThreadCount();
}
TEST_P(RopeExactness, ATokenAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}
TEST_P(RopeExactness, InPlaceGivesTheSameBits) {
  ExpectTheSameInPlace();
}

TEST(RopeAnglesTest, ATableOfThemGivesTheSameBits) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(TestSeed());
  for (const Case& c : ConformanceCases()) {
    SCOPED_TRACE(c.name);
    Problem problem(c, rng);
    if (problem.args.cos_sin.rank() > 0) {
      continue;
    }
    const int64_t pairs = problem.args.angles.inverse_frequency.dim(0);
    TypedArray table(DType::kF32, {problem.tokens(), pairs, 2});
    ASSERT_TRUE(ComputeCosSin(problem.args.angles, table.View().as<float>()).ok());
    EXPECT_EQ(table.Damage(), "");
    Args by_table = problem.args;
    by_table.angles = {};
    by_table.cos_sin = table.View();
    const std::vector<float> expected = ResultOf(problem, cpu.Context(), problem.args);
    EXPECT_EQ(BitMismatch(ResultOf(problem, cpu.Context(), by_table), expected), "");
  }
}

// q . k of rotated vectors depends on the distance of their positions alone: what the operator is
// for.
TEST(RopeValueTest, ScoresDependOnTheDistance) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(TestSeed());
  const std::vector<float> frequencies = {1.0f, 0.1f, 0.01f, 0.001f};
  const std::vector<int32_t> positions = {3, 10, 40, 47};  // query, key, query, key
  std::vector<float> cos_sin(4 * 4 * 2);
  ComputeCosSin(positions, frequencies, 1.0f, cos_sin.data());
  const std::vector<float> pair = RandomFloats(rng, 16);
  for (const Style style : {Style::kNeox, Style::kInterleaved}) {
    std::vector<float> x = pair;
    x.insert(x.end(), pair.begin(), pair.end());
    const Args args = {.x = {x.data(), DType::kF32, {4, 1, 8}},
                       .cos_sin = {cos_sin.data(), DType::kF32, {4, 4, 2}},
                       .style = style};
    ASSERT_TRUE(rope::Run(cpu.Context(), args).ok());
    float scores[2] = {};
    for (int i = 0; i < 8; ++i) {
      scores[0] += x[i] * x[8 + i];
      scores[1] += x[16 + i] * x[24 + i];
    }
    EXPECT_NEAR(scores[0], scores[1], 1e-4);
  }
}

TEST(RopeValueTest, StylesPairDifferentElements) {
  CpuFixture cpu(1);
  std::vector<float> cos_sin = {0, 1, 0, 1};  // a quarter turn: (a, b) -> (-b, a)
  std::vector<float> x = {1, 2, 3, 4, 5};
  std::vector<float> out(5);
  Args args = {.x = {x.data(), DType::kF32, {1, 1, 5}},
               .cos_sin = {cos_sin.data(), DType::kF32, {1, 2, 2}},
               .style = Style::kNeox,
               .out = {out.data(), DType::kF32, {1, 1, 5}}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    args.style = Style::kNeox;
    ASSERT_TRUE(rope::Run(context, args).ok());
    EXPECT_THAT(out, testing::ElementsAre(-3, -4, 1, 2, 5)) << context.implementation;
    args.style = Style::kInterleaved;
    ASSERT_TRUE(rope::Run(context, args).ok());
    EXPECT_THAT(out, testing::ElementsAre(-2, 1, -4, 3, 5)) << context.implementation;
  });
}

TEST(ComputeCosSinTest, FormsTheAngleInSinglePrecision) {
  const std::vector<int32_t> positions = {0, 8191};
  const std::vector<float> frequencies = {0.1f, 0.7f};
  std::vector<float> out(8);
  ComputeCosSin(positions, frequencies, 2.0f, out.data());
  const float angle = 8191 * 0.7f;
  EXPECT_THAT(out,
              testing::ElementsAre(2, 0, 2, 0, 2 * std::cos(8191 * 0.1f), 2 * std::sin(8191 * 0.1f),
                                   2 * std::cos(angle), 2 * std::sin(angle)));
}

TEST(ComputeCosSinTest, IsGoodToTheLastPlaceAtEveryPosition) {
  std::mt19937_64 rng(TestSeed());
  for (const int32_t limit : {100, 1 << 24, std::numeric_limits<int32_t>::max()}) {
    std::vector<int32_t> positions = RandomInts(rng, 2000, -limit, limit);
    positions.push_back(limit);
    std::vector<float> frequencies = {1.0f, 0.7f, 0.0123f, 1e-6f};
    const auto tokens = static_cast<int64_t>(positions.size());
    std::vector<float> out(positions.size() * 8);
    const Angles angles = {.positions = {positions.data(), DType::kI32, {tokens}},
                           .inverse_frequency = {frequencies.data(), DType::kF32, {4}}};
    ASSERT_TRUE(ComputeCosSin(angles, out.data()).ok());
    for (size_t i = 0; i < out.size(); i += 2) {
      const double angle = static_cast<double>(positions[i / 8]) * frequencies[i / 2 % 4];
      ASSERT_NEAR(out[i], std::cos(angle), 6.1e-8) << angle;
      ASSERT_NEAR(out[i + 1], std::sin(angle), 6.1e-8) << angle;
    }
  }
}

std::string ErrorOf(Form form, const std::function<void(Args&)>& change) {
  return ErrorAfter<Problem>(
      Case{.tokens = 2, .heads = 2, .elements = 8, .rotated = 8, .form = form, .in_place = true},
      change);
}

TEST(RopeErrorTest, NamesTheWrongTable) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf(Form::kTable, [](Args& args) { args.x = args.x.Rows(0, 1); }),
              StartsWith("invalid_argument: rope: cos_sin is [2, 4, 2] for x [1, 2, 8]"));
  EXPECT_THAT(ErrorOf(Form::kTable, [](Args& args) { args.x = args.x.Columns(0, 6); }),
              StartsWith("invalid_argument: rope: cos_sin is [2, 4, 2] for x [2, 2, 6]"));
  EXPECT_THAT(
      ErrorOf(Form::kTable, [](Args& args) { args.x = {args.x.data(), DType::kF32, {2, 16}}; }),
      StartsWith("invalid_argument: rope: x is f32 [2, 16]"));
  EXPECT_THAT(ErrorOf(Form::kTable, [](Args& args) { args.cos_sin = args.cos_sin.Columns(0, 1); }),
              StartsWith("invalid_argument: rope: cos_sin is f32 [2, 4, 1]"));
  EXPECT_THAT(ErrorOf(Form::kTable, [](Args& args) { args.cos_sin = {}; }),
              StartsWith("invalid_argument: rope: neither of cos_sin and angles is given"));
  EXPECT_THAT(ErrorOf(Form::kTable, [](Args& args) { args.out = args.x.Rows(0, 1); }),
              StartsWith("invalid_argument: rope: out is f32 [1, 2, 8]"));
}

TEST(RopeErrorTest, NamesTheWrongAngles) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf(Form::kPositions, [](Args& args) { args.x = args.x.Rows(0, 1); }),
              StartsWith("invalid_argument: rope: positions is [2] and inverse_frequency [4] for"));
  EXPECT_THAT(ErrorOf(Form::kPositions, [](Args& args) { args.angles.positions = args.x; }),
              StartsWith("invalid_argument: rope: positions is f32 [2, 2, 8]"));
  EXPECT_THAT(ErrorOf(Form::kPositions, [](Args& args) { args.angles.inverse_frequency = {}; }),
              StartsWith("invalid_argument: rope: inverse_frequency is f32 []"));
  EXPECT_THAT(ErrorOf(Form::kPositions, [](Args& args) { args.angles.sections = {4}; }),
              StartsWith("invalid_argument: rope: section 0 has 4 pairs for positions [2]"));
  EXPECT_THAT(ErrorOf(Form::kSections, [](Args& args) { args.angles.sections[1] = 3; }),
              StartsWith("invalid_argument: rope: the sections have 6 pairs for inverse_frequency "
                         "[4]"));
  EXPECT_THAT(ErrorOf(Form::kSections, [](Args& args) { args.angles.sections[1] = -1; }),
              StartsWith("invalid_argument: rope: section 1 has -1 pairs"));
}

TEST(RopeFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("rope")) {
    if (!c.has("positions")) {
      continue;  // frequencies_test.cc reads those
    }
    SCOPED_TRACE(c.name());
    TypedArray x = c.array("x").array();
    std::vector<int32_t> positions = c.array("positions").integers<int32_t>();
    std::vector<float> frequency = c.array("inverse_frequency").floats();
    Args args = {.x = x.View(),
                 .style = c.integer("neox") != 0 ? Style::kNeox : Style::kInterleaved};
    args.angles = {
        .positions = {positions.data(), DType::kI32, c.array("positions").shape()},
        .inverse_frequency = {frequency.data(), DType::kF32, c.array("inverse_frequency").shape()},
        .attention_factor = static_cast<float>(c.number("attention_factor"))};
    if (c.has("sections")) {
      const std::vector<int32_t> sections = c.array("sections").integers<int32_t>();
      std::copy(sections.begin(), sections.end(), args.angles.sections.begin());
    }
    ASSERT_TRUE(rope::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(x.Values(), c.array("out").floats(), ToleranceOf(x.dtype())), "");
  }
}

}  // namespace
}  // namespace quire::ops::rope
