#include "ops/topk_topp_sampling/topk_topp_sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/test_seed.h"
#include "ops/platform_conformance.h"
#include "ops/topk_topp_sampling/philox.h"
#include "ops/topk_topp_sampling/sampling_problem.h"

namespace quire::ops::topk_topp_sampling {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

std::vector<SampledToken> Result(const OpContext& context, Problem& problem) {
  std::fill(problem.out.begin(), problem.out.end(), SampledToken{-1, 7.0f, {{-1, 7.0f}}});
  const Status status = RunOnDevice(context, problem.args);
  EXPECT_TRUE(status.ok()) << status.message();
  return problem.out;
}

class SamplingConformance : public ConformanceTest<Case> {
 protected:
  // Whether the implementation takes the problem.
  bool Takes(const Problem& problem) { return Accepts(ImplementationsOf, problem.args); }

  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(All, SamplingConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(SamplingConformance, DrawsWhatTheReferenceDraws) {
  Problem problem(GetParam().problem, rng_, 3);
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  const std::vector<SampledToken> expected = Result(Reference(), problem);
  const std::vector<SampledToken> drawn = Result(Context(), problem);
  for (size_t row = 0; row < drawn.size(); ++row) {
    EXPECT_TRUE(drawn[row] == expected[row])
        << "row " << row << ": " << drawn[row].token << ", not " << expected[row].token;
  }
  EXPECT_EQ(problem.logits.Damage(), "");
}

// With `finish`, tokens come when it is called, or have come if the device made nobody wait.
TEST_P(SamplingConformance, FinishSetsTheSameTokens) {
  Problem problem(GetParam().problem, rng_, 0);
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  const std::vector<SampledToken> expected = Result(Context(), problem);
  std::function<Status(size_t)> finish;
  problem.args.finish = &finish;
  Result(Context(), problem);
  const bool is_asynchronous = Context().stream.device().is_asynchronous();
  EXPECT_EQ(finish != nullptr, is_asynchronous && problem.c.rows > 0);
  if (finish != nullptr) {
    EXPECT_EQ(problem.out[0].token, -1);
    for (size_t row = 0; row < expected.size(); ++row) {
      EXPECT_TRUE(finish(row).ok());
    }
  }
  EXPECT_TRUE(problem.out == expected);
}

TEST_P(SamplingConformance, TheTokensAreLeftOnTheDeviceToo) {
  Problem problem(GetParam().problem, rng_, 0);
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  std::vector<int32_t> drawn(static_cast<size_t>(problem.c.rows), -1);
  problem.args.drawn = {drawn.data(), DType::kI32, {problem.c.rows}};
  const std::vector<SampledToken> expected = Result(Context(), problem);
  for (size_t row = 0; row < expected.size(); ++row) {
    EXPECT_EQ(drawn[row], expected[row].token) << "row " << row;
  }
}

TEST_P(SamplingConformance, HistoriesMayNameTokensDrawnBefore) {
  Problem problem(GetParam().problem, rng_, 0);
  if (!Takes(problem) || problem.c.history == 0) {
    GTEST_SKIP();
  }
  const std::vector<SampledToken> expected = Result(Context(), problem);
  std::vector<int32_t> before(problem.history.size());
  std::vector<std::vector<int32_t>> outputs;
  for (size_t row = 0; row < before.size(); ++row) {
    std::span<const int32_t>& output = problem.history[row].output;
    before[before.size() - 1 - row] = output.back();
    outputs.emplace_back(output.begin(), output.end()).back() =
        -static_cast<int32_t>(before.size() - row);
    output = outputs.back();
  }
  problem.args.drawn_before = {before.data(), DType::kI32, {problem.c.rows}};
  EXPECT_EQ(Result(Context(), problem), expected);
}

TEST_P(SamplingConformance, ARowAloneDrawsTheSame) {
  Problem problem(GetParam().problem, rng_, 0);
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  const std::vector<SampledToken> expected = Result(Context(), problem);
  for (size_t row = 0; row < expected.size(); ++row) {
    SampledToken out;
    const auto index = static_cast<int64_t>(row);
    const Args alone = {.logits = problem.args.logits.Rows(index, index + 1),
                        .params = {&problem.params[row], 1},
                        .positions = {&problem.positions[row], 1},
                        .history = {&problem.history[row], 1},
                        .out = {&out, 1}};
    ASSERT_TRUE(RunOnDevice(Context(), alone).ok());
    EXPECT_TRUE(out == expected[row]) << "row " << row;
  }
}

// Draws from one row of logits.
SampledToken DrawOne(std::vector<float> logits, const SamplingParams& params,
                     const TokenHistory& history = {}, std::string_view implementation = {}) {
  CpuFixture cpu(1);
  const int64_t position = 0;
  SampledToken out;
  const Args args = {
      .logits = {logits.data(), DType::kF32, {1, static_cast<int64_t>(logits.size())}},
      .params = {&params, 1},
      .positions = {&position, 1},
      .history = {&history, 1},
      .out = {&out, 1}};
  const Status status = Run(cpu.Context(implementation), args);
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
}

// What an estimate looks at first says nothing about such a row.
TEST(TopPTest, WeightMayLieInAnyPartOfTheRow) {
  constexpr int64_t kRound = 4096;
  std::mt19937_64 rng(TestSeed());
  for (const int64_t begin : {int64_t{0}, int64_t{512}, kRound / 2}) {
    std::vector<float> logits = RandomFloats(rng, 4 * kRound, 0.0f, 0.5f);
    for (size_t i = 0; i < logits.size(); ++i) {
      const auto place = static_cast<int64_t>(i) % kRound;
      logits[i] = place >= begin && place < begin + kRound / 2 ? logits[i] : -kInfinity;
    }
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const SamplingParams params = {.top_p = 0.9f, .seed = seed};
      const int32_t expected = DrawOne(logits, params, {}, "reference").token;
      for (const Implementation<Args>& implementation : All()) {
        EXPECT_EQ(DrawOne(logits, params, {}, implementation.name).token, expected)
            << implementation.name << " begin " << begin;
      }
    }
  }
}

TEST(GreedyTest, TiesGoToTheLowestId) {
  for (size_t first = 0; first < 600; first += 37) {
    std::vector<float> logits(1200, -1.0f);
    logits[first] = logits[first + 1] = logits[first + 300] = 2.0f;
    EXPECT_EQ(DrawOne(logits, {.temperature = 0}).token, first);
  }
  EXPECT_EQ(DrawOne({-0.0f, 0.0f}, {.temperature = 0}).token, 0);
}

TEST(LogprobTest, AreThoseOfTheUnmodifiedLogits) {
  const SampledToken out = DrawOne({1.0f, 3.0f, 2.0f, 3.0f, -kInfinity},
                                   {.temperature = 0.01f, .top_k = 1, .top_logprobs = 5});
  const double log_sum = std::log(std::exp(1.0) + std::exp(2.0) + 2 * std::exp(3.0));
  EXPECT_EQ(out.token, 1);
  EXPECT_NEAR(out.logprob, 3 - log_sum, 1e-6);
  ASSERT_EQ(out.top.size(), 5);
  const int32_t order[] = {1, 3, 2, 0, 4};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(out.top[i].token, order[i]);
  }
  EXPECT_NEAR(out.top[2].logprob, 2 - log_sum, 1e-6);
  EXPECT_EQ(out.top[4].logprob, -kInfinity);
}

TEST(PenaltyTest, RepetitionDividesPositiveAndMultipliesNegativeLogitsOnce) {
  const std::vector<float> logits = {6.0f, 5.0f, 4.0f, -1.0f};
  const std::vector<int32_t> seen = {0, 1, 0, 0};
  const SamplingParams params = {.temperature = 0, .repetition_penalty = 1.4f};
  EXPECT_EQ(DrawOne(logits, params).token, 0);
  EXPECT_EQ(DrawOne(logits, params, {.prompt = seen, .output = {}}).token, 0);  // 6 / 1.4 > 4
  EXPECT_EQ(DrawOne(logits, params, {.prompt = seen, .output = seen}).token, 0);
  EXPECT_EQ(DrawOne(logits, {.temperature = 0, .repetition_penalty = 1.6f}, {seen, {}}).token, 2);
  EXPECT_EQ(
      DrawOne({-2.0f, -3.0f}, {.temperature = 0, .repetition_penalty = 1.4f}, {seen, {}}).token, 0);
  EXPECT_EQ(DrawOne({-2.0f, -2.5f}, {.temperature = 0, .repetition_penalty = 1.4f},
                    {{}, std::span(seen).first(1)})
                .token,
            1);
}

TEST(PenaltyTest, PresenceAndFrequencyCountOutputTokensOnly) {
  const std::vector<float> logits = {3.0f, 2.0f, 0.0f};
  const std::vector<int32_t> seen = {0, 0, 0};
  const SamplingParams frequency = {.temperature = 0, .frequency_penalty = 0.4f};
  const SamplingParams presence = {.temperature = 0, .presence_penalty = 0.9f};
  EXPECT_EQ(DrawOne(logits, frequency, {.prompt = seen, .output = {}}).token, 0);
  EXPECT_EQ(DrawOne(logits, frequency, {{}, std::span(seen).first(2)}).token, 0);
  EXPECT_EQ(DrawOne(logits, frequency, {{}, seen}).token, 1);
  EXPECT_EQ(DrawOne(logits, presence, {{}, seen}).token, 0);
  EXPECT_EQ(DrawOne(logits, {.temperature = 0, .presence_penalty = 1.1f}, {{}, seen}).token, 1);
}

TEST(PenaltyTest, BiasComesBeforeRepetition) {
  const std::vector<int32_t> seen = {1};
  const SamplingParams params = {
      .temperature = 0, .repetition_penalty = 2.0f, .logit_bias = {{1, 3.0f}}};
  EXPECT_EQ(DrawOne({2.2f, 1.0f}, params).token, 1);
  EXPECT_EQ(DrawOne({2.2f, 1.0f}, params, {seen, {}}).token, 0);  // (1 + 3) / 2, not 1 / 2 + 3
}

TEST(PenaltyTest, LogprobsStayThoseOfTheUnmodifiedLogits) {
  const std::vector<int32_t> seen = {0};
  const SampledToken out = DrawOne(
      {1.0f, 0.0f},
      {.temperature = 0, .top_logprobs = 1, .presence_penalty = 2.0f, .logit_bias = {{1, 50.0f}}},
      {{}, seen});
  EXPECT_EQ(out.token, 1);
  EXPECT_NEAR(out.logprob, -std::log1p(std::exp(1.0)), 1e-6);
  ASSERT_EQ(out.top.size(), 1);
  EXPECT_EQ(out.top[0].token, 0);
}

TEST(PhiloxTest, GivesThePublishedWords) {
  using testing::ElementsAre;
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_THAT(Philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(
      Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(UniformTest, TakesTheTopBitsOfTheFirstWord) {
  EXPECT_EQ(Uniform(0, 0), static_cast<float>(0x6627e8) / 16777216.0f);
  EXPECT_NE(Uniform(1, 0), Uniform(0, 1));
  EXPECT_NE(Uniform(uint64_t{1} << 32, 0), Uniform(0, 0));
  EXPECT_NE(Uniform(0, int64_t{1} << 32), Uniform(0, 0));
  EXPECT_NE(Uniform(0, 0, 1), Uniform(0, 0));
}

std::string MessageOf(const SamplingParams& params) {
  const Status status = params.Validate();
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(SamplingParamsTest, NamesTheFieldThatIsOutOfRange) {
  using testing::StartsWith;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(SamplingParams{}.Validate().ok());
  EXPECT_THAT(MessageOf({.temperature = -0.5f}),
              StartsWith("invalid_argument: temperature -0.5 is"));
  EXPECT_THAT(MessageOf({.temperature = nan}), StartsWith("invalid_argument: temperature nan is"));
  EXPECT_THAT(MessageOf({.temperature = kInfinity}),
              StartsWith("invalid_argument: temperature inf"));
  EXPECT_THAT(MessageOf({.top_p = 0.0f}), StartsWith("invalid_argument: top_p 0 is"));
  EXPECT_THAT(MessageOf({.top_p = 1.5f}), StartsWith("invalid_argument: top_p 1.5 is"));
  EXPECT_THAT(MessageOf({.top_p = nan}), StartsWith("invalid_argument: top_p nan is"));
  EXPECT_THAT(MessageOf({.min_p = -1.0f}), StartsWith("invalid_argument: min_p -1 is"));
  EXPECT_THAT(MessageOf({.min_p = nan}), StartsWith("invalid_argument: min_p nan is"));
  EXPECT_THAT(MessageOf({.top_logprobs = -2}), StartsWith("invalid_argument: top_logprobs -2 is"));
}

TEST(SamplingParamsTest, NamesThePenaltyThatIsOutOfRange) {
  using testing::StartsWith;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(SamplingParams({.presence_penalty = -2, .frequency_penalty = 2}).Validate().ok());
  EXPECT_THAT(
      MessageOf({.repetition_penalty = 0.0f}),
      StartsWith("invalid_argument: repetition_penalty 0 is out of range; use more than 0"));
  EXPECT_THAT(MessageOf({.repetition_penalty = kInfinity}),
              StartsWith("invalid_argument: repetition_penalty inf is"));
  EXPECT_THAT(MessageOf({.repetition_penalty = nan}),
              StartsWith("invalid_argument: repetition_penalty nan is"));
  EXPECT_THAT(MessageOf({.presence_penalty = 2.5f}),
              StartsWith("invalid_argument: presence_penalty 2.5 is out of range; use -2 to 2"));
  EXPECT_THAT(MessageOf({.frequency_penalty = nan}),
              StartsWith("invalid_argument: frequency_penalty nan is"));
  EXPECT_THAT(MessageOf({.logit_bias = {{-1, 0.0f}}}),
              StartsWith("invalid_argument: logit_bias names token -1"));
  EXPECT_THAT(MessageOf({.logit_bias = {{1, 0.0f}, {9, 100.5f}}}),
              StartsWith("invalid_argument: logit_bias 100.5 of token 9 is out of range"));
  EXPECT_THAT(MessageOf({.logit_bias = {{9, nan}}}),
              StartsWith("invalid_argument: logit_bias nan of token 9"));
}

// Calls body(context) for every implementation that takes the problem, on all devices of this
// machine.
template <typename Body>
void ForEachDevice(const Problem& problem, const Body& body) {
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    PlatformFixture device(platform.kind);
    if (device.missing().empty()) {
      ForEachImplementation(device, ImplementationsOf(platform.kind), problem.args, body);
    }
  }
}

// The messages of all implementations when `change` spoils a valid problem of four rows of 600.
template <typename Change>
void ExpectError(const Change& change, const std::string& message) {
  std::mt19937_64 rng(1);
  Problem problem({.rows = 4, .vocabulary = 600, .deviation = 1.0f}, rng, 0);
  change(problem);
  ForEachDevice(problem, [&](const OpContext& context) {
    const Status status = RunOnDevice(context, problem.args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << context.implementation;
    EXPECT_THAT(status.message(), testing::StartsWith("topk_topp_sampling: " + message))
        << context.implementation;
  });
}

TEST(SamplingErrorTest, NamesTheRowWhoseLogitsAreBad) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t at : {0, 15, 16, 255, 256, 511, 592, 599}) {
    ExpectError([&](Problem& p) { p.logits.Row(2)[at] = nan; }, "the logits of row 2 hold NaN");
    ExpectError([&](Problem& p) { p.logits.Row(1)[at] = kInfinity; }, "the largest logit of row 1");
  }
  ExpectError([](Problem& p) { std::fill_n(p.logits.Row(3), 600, -kInfinity); },
              "every token of row 3 is masked");
}

TEST(SamplingErrorTest, LeavesOtherRowsSampled) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(1);
  Problem problem({.rows = 4, .vocabulary = 600, .deviation = 1.0f}, rng, 0);
  const std::vector<SampledToken> expected = Result(cpu.Context(), problem);
  problem.logits.Row(2)[5] = std::numeric_limits<float>::quiet_NaN();
  ForEachDevice(problem, [&](const OpContext& context) {
    std::fill(problem.out.begin(), problem.out.end(), SampledToken{});
    EXPECT_FALSE(RunOnDevice(context, problem.args).ok());
    for (const size_t row : {0, 1, 3}) {
      EXPECT_TRUE(problem.out[row] == expected[row]) << context.implementation << " row " << row;
    }
  });
}

TEST(SamplingErrorTest, NamesWhatIsWrong) {
  ExpectError([](Problem& p) { p.params[3].top_p = 2.0f; }, "row 3: top_p 2 is out of range");
  ExpectError([](Problem& p) { p.params[1].top_logprobs = 601; },
              "row 1: top_logprobs 601 exceeds");
  ExpectError([](Problem& p) { p.params[1].logit_bias = {{600, 1.0f}}; },
              "row 1: logit_bias names token 600; it must be within the vocabulary of 600");
  ExpectError(
      [](Problem& p) {
        p.params[2].presence_penalty = 1.0f;
        p.args.history = {};
      },
      "row 2 has a penalty but there is no history");
  ExpectError([](Problem& p) { p.args.history = p.args.history.first(3); },
              "4 rows of logits with 3 histories");
  static constexpr int32_t kBad[] = {5, 600};
  ExpectError(
      [](Problem& p) {
        p.params[2].frequency_penalty = 1.0f;
        p.history[2].output = kBad;
      },
      "row 2: token 1 of the output is 600");
  ExpectError([](Problem& p) { p.args.positions = p.args.positions.first(3); },
              "4 rows of logits with 4 params, 3 positions and 4 places");
  ExpectError([](Problem& p) { p.args.logits = p.args.logits.SplitLast(6); },
              "logits is f32 [4, 100, 6]");
}

}  // namespace
}  // namespace quire::ops::topk_topp_sampling
