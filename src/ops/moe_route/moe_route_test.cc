#include "ops/moe_route/moe_route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/test_seed.h"
#include "ops/fixture_file.h"
#include "ops/moe_route/moe_route_cases.h"
#include "ops/platform_conformance.h"

namespace quire::ops::moe_route {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class MoeRouteConformance : public ConformanceTest<Case> {
 protected:
  MoeRouteConformance()
      : case_(GetParam().problem.is_random ? RandomCase(rng_) : GetParam().problem),
        problem_(case_, rng_) {}

  std::mt19937_64 rng_{TestSeed()};
  Case case_;
  Problem problem_;
};

INSTANTIATE_TEST_SUITE_P(All, MoeRouteConformance,
                         testing::ValuesIn(ConformanceParams(Cases(), ImplementationsOf)),
                         ConformanceName());

TEST_P(MoeRouteConformance, AgreesWithTheReference) {
  ASSERT_TRUE(Accepts(ImplementationsOf, problem_.args));
  ASSERT_TRUE(moe_route::Run(Reference(), problem_.args).ok());
  const std::vector<int32_t> ids = problem_.ids.Values();
  const std::vector<float> weights = problem_.weights.Values();
  const Status status = RunOnDevice(Context(), problem_.args);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem_.ids.Values(), ids);
  EXPECT_EQ(Mismatch(problem_.weights.Values(), weights, {.rtol = 2e-6, .atol = 1e-12}), "");
  EXPECT_EQ(problem_.ids.Damage(), "");
  EXPECT_EQ(problem_.weights.Damage(), "");
  EXPECT_EQ(problem_.logits.Damage(), "");
}

// A token alone, on the CPU on another number of threads and at the lowest set: the same bits.
TEST_P(MoeRouteConformance, TokensAreIndependentAndSetsAgree) {
  CpuFixture one(1);
  const bool on_cpu = GetParam().platform == PlatformKind::kCpu;
  ASSERT_TRUE(RunOnDevice(Context(), problem_.args).ok());
  const std::vector<int32_t> ids = problem_.ids.Values();
  const std::vector<float> weights = problem_.weights.Values();
  for (int64_t t = 0; t < case_.tokens; ++t) {
    Args row = problem_.args;
    row.logits = row.logits.Rows(t, t + 1);
    row.ids = row.ids.Rows(t, t + 1);
    row.weights = row.weights.Rows(t, t + 1);
    ASSERT_TRUE(RunOnDevice(on_cpu ? one.Context("vectorized") : Context(), row).ok());
  }
  EXPECT_EQ(problem_.ids.Values(), ids);
  EXPECT_EQ(BitMismatch(problem_.weights.Values(), weights), "");
}

// The result of one token with one row of logits.
struct Token {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};
Token Route(std::string_view implementation, std::vector<float> logits, int64_t k, Args args,
            std::vector<float> bias = {}) {
  CpuFixture cpu(1);
  const auto experts = static_cast<int64_t>(logits.size());
  Token token;
  token.ids.resize(static_cast<size_t>(k));
  token.weights.resize(static_cast<size_t>(k));
  args.logits = TensorView(logits.data(), DType::kF32, {1, experts});
  args.ids = TensorView(token.ids.data(), DType::kI32, {1, k});
  args.weights = TensorView(token.weights.data(), DType::kF32, {1, k});
  if (!bias.empty()) {
    args.bias = TensorView(bias.data(), DType::kF32, {experts});
  }
  const Status status = moe_route::Run(cpu.Context(implementation), args);
  EXPECT_TRUE(status.ok()) << status.message();
  return token;
}

TEST(MoeRouteValueTest, TiesGoToTheLowestId) {
  for (const Implementation<Args>& implementation : All()) {
    const std::vector<float> logits(40, 1.0f);
    EXPECT_THAT(Route(implementation.name, logits, 3, {}).ids, ElementsAre(0, 1, 2));
    EXPECT_THAT(Route(implementation.name, {0.0f, -0.0f, 0.0f}, 2, {}).ids, ElementsAre(0, 1));
    const Args groups = {.scoring = Scoring::kSigmoid, .groups = 4, .top_groups = 2};
    EXPECT_THAT(Route(implementation.name, logits, 11, groups).ids,
                ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  }
}

TEST(MoeRouteValueTest, NanIsBelowEveryNumberAndIdsStayDifferent) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Implementation<Args>& implementation : All()) {
    EXPECT_THAT(Route(implementation.name, {NAN, -inf, NAN, 2.0f}, 4, {}).ids,
                ElementsAre(3, 1, 0, 2))
        << implementation.name;
    const std::vector<float> nan(37, NAN);
    const Token token = Route(implementation.name, nan, 9, {.scoring = Scoring::kSigmoid});
    EXPECT_EQ(std::set<int32_t>(token.ids.begin(), token.ids.end()).size(), 9u);
  }
}

// The bias chooses and does not weigh; a group of two good experts beats one with the best.
TEST(MoeRouteValueTest, OfDeepSeekV3) {
  for (const Implementation<Args>& implementation : All()) {
    const Args args = {.scoring = Scoring::kSigmoid,
                       .renormalize = true,
                       .groups = 2,
                       .top_groups = 1,
                       .scale = 2.5f};
    const Token token =
        Route(implementation.name, {9.0f, -9.0f, 1.0f, 1.0f}, 2, args, {0.0f, 0.0f, 0.0f, 0.5f});
    EXPECT_THAT(token.ids, ElementsAre(3, 2)) << implementation.name;
    EXPECT_THAT(token.weights, ElementsAre(1.25f, 1.25f)) << implementation.name;
  }
}

TEST(MoeRouteErrorTest, WrongArgumentsAreNamed) {
  CpuFixture cpu(1);
  std::vector<float> data(256);
  const auto error = [&](const auto& change) {
    Args args = {.logits = TensorView(data.data(), DType::kF32, {3, 8}),
                 .bias = {},
                 .ids = TensorView(data.data(), DType::kI32, {3, 2}),
                 .weights = TensorView(data.data(), DType::kF32, {3, 2})};
    change(args);
    const Status status = moe_route::Run(cpu.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  const auto view = [&](DType dtype, const Shape& shape) {
    return TensorView(data.data(), dtype, shape);
  };
  EXPECT_THAT(error([&](Args& a) { a.logits = view(DType::kI32, {3, 8}); }),
              HasSubstr("logits are i32"));
  EXPECT_THAT(error([&](Args& a) { a.ids = view(DType::kI32, {2, 2}); }), HasSubstr("ids are"));
  EXPECT_THAT(error([&](Args& a) { a.weights = view(DType::kF32, {3, 3}); }),
              HasSubstr("weights are f32 [3, 3]"));
  EXPECT_THAT(error([&](Args& a) { a.bias = view(DType::kF32, {8}); }), HasSubstr("sigmoid"));
  EXPECT_THAT(error([&](Args& a) {
                a.scoring = Scoring::kSigmoid;
                a.bias = view(DType::kF32, {7});
              }),
              HasSubstr("bias is f32 [7]"));
  EXPECT_THAT(error([](Args& a) { a.groups = 3; }), HasSubstr("groups is 3"));
  EXPECT_THAT(error([](Args& a) { a.top_groups = 2; }), HasSubstr("top_groups is 2"));
  EXPECT_THAT(error([](Args& a) { a.groups = 8; }), HasSubstr("k is 2; only 1"));
}

TEST(MoeRouteFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("moe_route")) {
    TypedArray logits = c.array("logits").array();
    const FixtureArray ids = c.array("ids");
    GuardedArray<int32_t> out_ids(ids.shape());
    GuardedArray<float> out_weights(ids.shape());
    TypedArray bias(DType::kF32, {logits.shape()[1]});
    Args args = {.logits = logits.View(),
                 .bias = {},
                 .ids = out_ids.View(DType::kI32),
                 .weights = out_weights.View(DType::kF32),
                 .scoring = static_cast<Scoring>(c.integer("scoring")),
                 .renormalize = c.integer("renormalize") != 0,
                 .groups = c.integer("groups"),
                 .top_groups = c.integer("top_groups"),
                 .scale = static_cast<float>(c.number("scale"))};
    if (c.has("bias")) {
      bias.Assign(c.array("bias").floats());
      args.bias = bias.View();
    }
    ASSERT_TRUE(moe_route::Run(cpu.Context("reference"), args).ok()) << c.name();
    EXPECT_EQ(out_ids.Values(), ids.integers<int32_t>()) << c.name();
    EXPECT_EQ(Mismatch(out_weights.Values(), c.array("weights").floats(), {.rtol = 1e-6}), "")
        << c.name();
  }
}

}  // namespace
}  // namespace quire::ops::moe_route
