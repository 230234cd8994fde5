#include "ops/rope/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/conformance.h"
#include "ops/rope/rope_cases.h"

namespace quire::ops::rope {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

// One problem with its data. x is [T, H * D] with a gap after each row.
struct Problem {
  Problem(const Case& c, std::mt19937_64& rng)
      : x({c.tokens, c.heads * c.elements}, c.heads * c.elements + c.gap),
        cos_sin({c.tokens, c.rotated / 2, 2}),
        before(RandomFloats(rng, c.tokens * c.heads * c.elements)) {
    const std::vector<int32_t> positions = RandomInts(rng, c.tokens, 0, 8000);
    std::vector<float> frequencies;
    for (int64_t i = 0; i < c.rotated / 2; ++i) {
      frequencies.push_back(std::pow(10000.0f, -2.0f * i / c.rotated));
    }
    ComputeCosSin(positions, frequencies, 1.0f, cos_sin.data());
    args = {.x = x.View(DType::kF32).SplitLast(c.elements),
            .cos_sin = cos_sin.View(DType::kF32),
            .style = c.style};
  }

  std::vector<float> Result(const OpContext& context) {
    x.Assign(before);
    const Status status = Run(context, args);
    EXPECT_TRUE(status.ok()) << status.message();
    return x.Values();
  }

  GuardedArray<float> x;
  GuardedArray<float> cos_sin;
  std::vector<float> before;
  Args args;
};

class RopeTest : public testing::TestWithParam<Case> {
 protected:
  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(Cases, RopeTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

// A rotation is two products and a sum, never contracted: there is but one right answer.
TEST_P(RopeTest, HasTheBitsOfTheReferenceOnAnyThreads) {
  CpuFixture one(1);
  Problem problem(GetParam(), rng_);
  const std::vector<float> expected = problem.Result(one.Context("reference"));
  for (const int threads : {1, 2}) {
    CpuFixture cpu(threads);
    ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
      EXPECT_EQ(BitMismatch(problem.Result(context), expected), "") << context.implementation;
      EXPECT_EQ(problem.x.Damage(), "") << context.implementation;
    });
  }
  EXPECT_EQ(problem.cos_sin.Damage(), "");
}

TEST_P(RopeTest, ATokenAloneGivesTheSameBits) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = problem.Result(context);
    problem.x.Assign(problem.before);
    for (int64_t t = 0; t < GetParam().tokens; ++t) {
      Args row = problem.args;
      row.x = row.x.Rows(t, t + 1);
      row.cos_sin = row.cos_sin.Rows(t, t + 1);
      EXPECT_TRUE(rope::Run(context, row).ok());
    }
    EXPECT_EQ(BitMismatch(problem.x.Values(), expected), "") << context.implementation;
  });
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
  std::vector<float> x = {1, 2, 3, 4};
  Args args = {.x = {x.data(), DType::kF32, {1, 1, 4}},
               .cos_sin = {cos_sin.data(), DType::kF32, {1, 2, 2}},
               .style = Style::kNeox};
  ASSERT_TRUE(rope::Run(cpu.Context(), args).ok());
  EXPECT_THAT(x, testing::ElementsAre(-3, -4, 1, 2));
  x = {1, 2, 3, 4};
  args.style = Style::kInterleaved;
  ASSERT_TRUE(rope::Run(cpu.Context(), args).ok());
  EXPECT_THAT(x, testing::ElementsAre(-2, 1, -4, 3));
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

// The message of the error that `change` to a valid problem causes.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem({"", 2, 2, 8, 8, 0, Style::kNeox}, rng);
  change(problem.args);
  const Status status = Run(cpu.Context(), problem.args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(RopeErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = args.x.Rows(0, 1); }),
              StartsWith("invalid_argument: rope: cos_sin is [2, 4, 2] for x [1, 2, 8]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = args.x.Columns(0, 6); }),
              StartsWith("invalid_argument: rope: cos_sin is [2, 4, 2] for x [2, 2, 6]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.x = {args.x.data(), DType::kF32, {2, 16}}; }),
              StartsWith("invalid_argument: rope: x is f32 [2, 16]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.cos_sin = args.cos_sin.Columns(0, 1); }),
              StartsWith("invalid_argument: rope: cos_sin is f32 [2, 4, 1]"));
}

}  // namespace
}  // namespace quire::ops::rope
