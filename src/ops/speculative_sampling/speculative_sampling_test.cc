#include "ops/speculative_sampling/speculative_sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/test_seed.h"
#include "ops/platform_conformance.h"
#include "ops/speculative_sampling/speculative_problem.h"

namespace quire::ops::speculative_sampling {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

const SampledToken kUntouched = {-7, 7.0f, {{-7, 7.0f}}};

struct Drawn {
  std::vector<int32_t> accepted;
  std::vector<SampledToken> out;
};

Drawn Result(const OpContext& context, Problem& problem) {
  std::fill(problem.out.begin(), problem.out.end(), kUntouched);
  const Status status = RunOnDevice(context, problem.args);
  EXPECT_TRUE(status.ok()) << status.message();
  return {problem.accepted, problem.out};
}

class SpeculativeSamplingConformance : public ConformanceTest<Case> {
 protected:
  bool Takes(const Problem& problem) { return Accepts(ImplementationsOf, problem.args); }

  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(All, SpeculativeSamplingConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(SpeculativeSamplingConformance, DrawsWhatTheReferenceDraws) {
  Problem problem(GetParam().problem, rng_, 3);
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  const Drawn expected = Result(Reference(), problem);
  const Drawn drawn = Result(Context(), problem);
  EXPECT_EQ(drawn.accepted, expected.accepted);
  for (size_t row = 0; row < drawn.out.size(); ++row) {
    EXPECT_TRUE(drawn.out[row] == expected.out[row]) << "row " << row;
  }
  EXPECT_EQ(problem.logits.Damage(), "");
  EXPECT_EQ(problem.probs.Damage(), "");
}

// Without draft_probs, and at temperature 0, the tokens are those of sampling without drafts, and
// as many drafts stand as agree with them.
TEST_P(SpeculativeSamplingConformance, OneHotDraftsCannotBeSeenInTheTokens) {
  Problem problem(GetParam().problem, rng_, 0);
  const OpContext context = Context();
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  const Drawn drawn = Result(context, problem);
  for (int64_t i = 0; i < problem.c.sequences; ++i) {
    if (problem.c.probs && problem.params[i].temperature > 0) {
      continue;
    }
    const int64_t drafts = problem.starts[i + 1] - problem.starts[i];
    int64_t count = 0;
    for (bool stands = true; stands; ++count) {
      const SampledToken plain = problem.PlainToken(context, i, count);
      EXPECT_TRUE(drawn.out[problem.starts[i] + i + count] == plain) << i << " " << count;
      stands = count < drafts && plain.token == problem.drafts[problem.starts[i] + count];
    }
    EXPECT_EQ(drawn.accepted[i], count - 1);
    for (; count <= drafts; ++count) {
      EXPECT_TRUE(drawn.out[problem.starts[i] + i + count] == kUntouched);
    }
  }
}

TEST_P(SpeculativeSamplingConformance, ASequenceAloneDrawsTheSame) {
  Problem problem(GetParam().problem, rng_, 0);
  const OpContext context = Context();
  if (!Takes(problem)) {
    GTEST_SKIP();
  }
  const Drawn expected = Result(context, problem);
  for (int64_t i = 0; i < problem.c.sequences; ++i) {
    const int32_t first = problem.starts[i];
    const int32_t last = problem.starts[i + 1];
    const std::vector<int32_t> starts = {0, last - first};
    std::vector<SampledToken> out(last - first + 1, kUntouched);
    int32_t accepted = -1;
    Args alone = problem.args;
    alone.logits = alone.logits.Rows(first + i, last + i + 1);
    alone.draft_start = starts;
    alone.draft_tokens = alone.draft_tokens.subspan(first, last - first);
    if (alone.draft_probs.defined()) {
      alone.draft_probs = alone.draft_probs.Rows(first, last);
    }
    alone.params = alone.params.subspan(i, 1);
    alone.positions = alone.positions.subspan(i, 1);
    alone.history = alone.history.subspan(i, 1);
    alone.accepted = {&accepted, 1};
    alone.out = out;
    ASSERT_TRUE(RunOnDevice(context, alone).ok());
    EXPECT_EQ(accepted, expected.accepted[i]);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), expected.out.begin() + first + i));
  }
}

// The errors of all implementations when `change` spoils a valid problem of three sequences with
// two drafts each, 100 tokens.
template <typename Change>
void ExpectError(bool probs, const Change& change, const std::string& message) {
  std::mt19937_64 rng(1);
  Problem problem({.sequences = 3, .drafts = 2, .vocabulary = 100, .probs = probs, .likely = 1.0},
                  rng, 0);
  change(problem);
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    PlatformFixture device(platform.kind);
    if (!device.missing().empty()) {
      continue;
    }
    ForEachImplementation(
        device, ImplementationsOf(platform.kind), problem.args, [&](const OpContext& context) {
          const Status status = RunOnDevice(context, problem.args);
          EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << context.implementation;
          EXPECT_THAT(status.message(), testing::StartsWith("speculative_sampling: " + message))
              << context.implementation;
        });
  }
}

TEST(SpeculativeSamplingErrorTest, NamesTheShapeThatIsWrong) {
  ExpectError(
      false, [](Problem& p) { p.args.logits = p.args.logits.Rows(0, 8); },
      "6 drafts of 3 sequences with 8 rows of logits and 9 places");
  ExpectError(false, [](Problem& p) { p.starts[1] = 5; }, "draft_start falls from 5 to 4");
  ExpectError(false, [](Problem& p) { p.starts[3] = 5; }, "draft_start runs from 0 to 5 for 6");
  ExpectError(
      false, [](Problem& p) { p.args.positions = p.args.positions.first(2); },
      "3 params with 4 draft_start, 2 positions and 3 accepted");
  ExpectError(
      false, [](Problem& p) { p.args.history = p.args.history.first(2); },
      "3 sequences with 2 histories");
  ExpectError(
      true, [](Problem& p) { p.args.draft_probs = p.args.draft_probs.Rows(0, 5); },
      "draft_probs is f32 [5, 100]");
}

TEST(SpeculativeSamplingErrorTest, NamesTheValueThatIsWrong) {
  ExpectError(false, [](Problem& p) { p.drafts[3] = 100; }, "draft_tokens[3] is 100; it must be");
  ExpectError(false, [](Problem& p) { p.params[1].top_p = 0; }, "row 1: top_p 0 is out of range");
  ExpectError(
      false,
      [](Problem& p) {
        p.params[1].repetition_penalty = 2;
        p.args.history = {};
      },
      "row 1 has a penalty but there is no history");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  ExpectError(false, [&](Problem& p) { p.logits.Row(4)[7] = nan; }, "the logits of row 4 hold NaN");
  ExpectError(
      true, [&](Problem& p) { p.probs.Row(0)[p.drafts[0]] = 0; }, "the draft_probs for row 0");
  ExpectError(
      true, [&](Problem& p) { p.probs.Row(2)[p.drafts[2]] = nan; }, "the draft_probs for row 3");
}

// A step must not fail for rows that plain sampling would never have computed.
TEST(SpeculativeSamplingErrorTest, RowsAfterARejectionAreNotLookedAt) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(1);
  Problem problem({.sequences = 2, .drafts = 3, .vocabulary = 100, .likely = 1.0}, rng, 0);
  problem.drafts[1] = (problem.drafts[1] + 1) % 100;
  problem.logits.Row(2)[0] = std::numeric_limits<float>::quiet_NaN();
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    EXPECT_THAT(Result(context, problem).accepted, testing::ElementsAre(1, 3));
  });
}

}  // namespace
}  // namespace quire::ops::speculative_sampling
