#include "ops/moe/moe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/test_seed.h"
#include "ops/device_arrays.h"
#include "ops/fixture_file.h"
#include "ops/moe/moe_cases.h"

namespace quire::ops::moe {
namespace {

using ::testing::HasSubstr;

std::vector<float> ResultOf(const OpContext& context, Problem& problem) {
  problem.out.Assign(problem.before);
  const Status status = moe::Run(context, problem.args);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem.out.Damage(), "");
  return problem.out.Values();
}

// What the roundings of activations inside (8 bits or bf16, which a last bit of an input can turn)
// and of out may lose, as a share of the largest result.
double LossOf(const Case& c) {
  const double inside = c.mode == linear::ActivationMode::kFp32 || c.kind == "f32" ? 4e-6
                        : c.mode == linear::ActivationMode::kFp8                   ? 2e-2
                                                                                   : 1e-2;
  return inside + (c.out == DType::kF32 ? 0 : c.out == DType::kF16 ? 1e-3 : 8e-3);
}

class MoeConformance : public testing::TestWithParam<ConformanceParam<Case>> {
 protected:
  std::mt19937_64 rng_{TestSeed()};
  Case case_ = GetParam().problem.is_random ? RandomCase(rng_) : GetParam().problem;
};

INSTANTIATE_TEST_SUITE_P(All, MoeConformance,
                         testing::ValuesIn(ConformanceParams(Cases(), ImplementationsOf)),
                         ConformanceName());

void ExpectClose(double loss, const std::vector<float>& actual,
                 const std::vector<float>& expected) {
  float largest = 0.0f;
  for (const float value : expected) {
    largest = std::max(largest, std::abs(value));
  }
  const Tolerance tolerance = {.rtol = 0, .atol = loss * double{largest} + 1e-6};
  EXPECT_EQ(Mismatch(actual, expected, tolerance), "");
}

TEST_P(MoeConformance, AgreesWithTheReference) {
  for (const CpuIsa isa : AvailableIsas()) {
    if (GetParam().platform != PlatformKind::kCpu) {
      GTEST_SKIP() << "another test's";
    }
    SCOPED_TRACE(CpuIsaName(isa));
    CpuFixture cpu(2, isa);
    Problem problem(cpu.Context(), case_, rng_);
    const std::vector<float> expected = ResultOf(cpu.Context("reference"), problem);
    ExpectClose(LossOf(case_), ResultOf(cpu.Context(GetParam().implementation), problem), expected);
    EXPECT_EQ(problem.x.Damage(), "");
  }
}

// Other platforms round activations in their own way, but for 8-bit floats: compared with unrounded
// ones.
TEST_P(MoeConformance, OtherPlatformsAgreeWithTheReference) {
  PlatformFixture device(GetParam().platform);
  if (GetParam().platform == PlatformKind::kCpu || !device.missing().empty()) {
    GTEST_SKIP() << device.missing();
  }
  std::mt19937_64 rng = rng_;
  const OpContext context = device.Context(GetParam().implementation);
  Problem problem(context, case_, rng);
  if (!Named(ImplementationsOf(GetParam().platform), context.implementation)
           .accepts(context, problem.args)) {
    GTEST_SKIP() << "it does not take this problem";
  }
  problem.out.Assign(problem.before);
  const Status status = RunOnDevice(context, problem.args);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem.out.Damage(), "");
  CpuFixture cpu(1);
  Case exact = case_;
  if (exact.mode != linear::ActivationMode::kFp8) {
    exact.mode = linear::ActivationMode::kFp32;
  }
  Problem other(cpu.Context(), exact, rng_);
  // Intermediate features in bf16, of sums with about 14 bits, turn some of their codes, by up to
  // an eighth of a feature: in a simulation of the widest case up to 0.044 of the largest result.
  const double turned = exact.mode == linear::ActivationMode::kFp8 ? 0.06 : 0.0;
  ExpectClose(LossOf(case_) + turned, problem.out.Values(),
              ResultOf(cpu.Context("reference"), other));
}

// A token alone and on other threads: the same bits.
TEST_P(MoeConformance, TokensAreIndependent) {
  if (GetParam().platform != PlatformKind::kCpu) {
    GTEST_SKIP() << "products of the shared experts may differ there";
  }
  CpuFixture two(2);
  CpuFixture one(1);
  Problem problem(two.Context(), case_, rng_);
  const std::vector<float> expected = ResultOf(two.Context(GetParam().implementation), problem);
  problem.out.Assign(problem.before);
  for (int64_t t = 0; t < case_.tokens; ++t) {
    Args row = problem.args;
    row.x = row.x.Rows(t, t + 1);
    row.out = row.out.Rows(t, t + 1);
    row.ids = row.ids.Rows(t, t + 1);
    row.weights = row.weights.Rows(t, t + 1);
    ASSERT_TRUE(moe::Run(one.Context(GetParam().implementation), row).ok());
  }
  EXPECT_EQ(BitMismatch(problem.out.Values(), expected), "");
}

TEST(MoeTest, NothingIsAllocatedOnceWarm) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(TestSeed());
  Problem problem(cpu.Context(), {"warm", 20, 2, 4}, rng);
  ResultOf(cpu.Context(), problem);
  const size_t capacity = cpu.workspace().capacity();
  for (int i = 0; i < 20; ++i) {
    ResultOf(cpu.Context(), problem);
  }
  EXPECT_EQ(cpu.workspace().capacity(), capacity);
}

TEST(MoeErrorTest, WrongArgumentsAreNamed) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(TestSeed());
  Problem problem(cpu.Context(), {"error", 3, 2, 4}, rng);
  Problem other(cpu.Context(), {"other", 3, 2, 4, 65, 48}, rng);
  const auto error = [&](const auto& change) {
    Args args = problem.args;
    change(args);
    const Status status = moe::Run(cpu.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_THAT(error([&](Args& a) { a.x = other.args.x; }), HasSubstr("out is f32 [3, 64]"));
  EXPECT_THAT(error([&](Args& a) { a.out = a.out.Rows(0, 2); }), HasSubstr("out is f32 [2, 64]"));
  EXPECT_THAT(error([&](Args& a) { a.ids = a.weights; }), HasSubstr("ids are f32"));
  EXPECT_THAT(error([&](Args& a) { a.weights = a.weights.Rows(0, 1); }),
              HasSubstr("weights are f32 [1, 2]"));
  EXPECT_THAT(error([&](Args& a) { a.experts = other.experts; }),
              HasSubstr("expert 0 has gate_up [96, 65]"));
  EXPECT_THAT(error([&](Args& a) { a.shared = other.experts; }), HasSubstr("shared expert 0"));
  EXPECT_THAT(error([&](Args& a) { a.shared_gate = problem.experts[0].down; }),
              HasSubstr("shared_gate is [64, 48]"));
  EXPECT_THAT(error([&](Args&) { problem.ids[3] = 4; }), HasSubstr("id 4 of token 1"));
  EXPECT_THAT(error([&](Args&) { problem.ids[3] = -2; }), HasSubstr("id -2"));
}

// The weights of a fixture: f32 [E, 2 I, H] and [E, H, I].
std::vector<Expert> PackExperts(const OpContext& context, const FixtureCase& c,
                                const std::string& prefix,
                                std::vector<std::shared_ptr<const linear::PackedWeight>>& packed) {
  std::vector<Expert> experts;
  if (!c.has(prefix + "gate_up")) {
    return experts;
  }
  const FixtureArray gate_up = c.array(prefix + "gate_up");
  const FixtureArray down = c.array(prefix + "down");
  const auto pack = [&](const FixtureArray& array, int64_t e) {
    const int64_t n = array.extents[1];
    const int64_t k = array.extents[2];
    std::vector<float> values = array.floats();
    const TensorView view(values.data() + e * n * k, DType::kF32, {n, k});
    auto made = linear::PackWeight(context, std::span(&view, 1), linear::ActivationMode::kFp32);
    QUIRE_CHECK(made.ok()) << made.status().message();
    packed.push_back(*made);
    return packed.back().get();
  };
  for (int64_t e = 0; e < gate_up.extents[0]; ++e) {
    experts.push_back({pack(gate_up, e), pack(down, e)});
  }
  return experts;
}

TEST(MoeFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("moe")) {
    std::vector<std::shared_ptr<const linear::PackedWeight>> packed;
    const std::vector<Expert> experts = PackExperts(cpu.Context(), c, "", packed);
    const std::vector<Expert> shared = PackExperts(cpu.Context(), c, "shared_", packed);
    TypedArray x = c.array("x").array();
    TypedArray weights = c.array("weights").array();
    std::vector<int32_t> ids = c.array("ids").integers<int32_t>();
    TypedArray out(x.dtype(), x.shape());
    Args args = {.x = x.View(),
                 .ids = TensorView(ids.data(), DType::kI32, c.array("ids").shape()),
                 .weights = weights.View(),
                 .experts = experts,
                 .shared = shared,
                 .out = out.View(),
                 .activation = c.integer("gelu") != 0 ? act_and_mul::Activation::kGeluTanh
                                                      : act_and_mul::Activation::kSilu};
    if (c.has("shared_gate")) {
      TypedArray gate = c.array("shared_gate").array();
      const TensorView view = gate.View();
      packed.push_back(
          *linear::PackWeight(cpu.Context(), std::span(&view, 1), linear::ActivationMode::kFp32));
      args.shared_gate = packed.back().get();
    }
    ASSERT_TRUE(moe::Run(cpu.Context("reference"), args).ok()) << c.name();
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), {.rtol = 1e-5, .atol = 1e-5}), "")
        << c.name();
  }
}

}  // namespace
}  // namespace quire::ops::moe
