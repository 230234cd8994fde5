// A product with the norm before it and the activation after it against the three operators one
// after the other: the same bits, on every platform.
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/act_and_mul/act_and_mul_cases.h"
#include "ops/linear/weight_sources.h"
#include "ops/platform_conformance.h"
#include "ops/rms_norm/rms_norm_cases.h"

namespace quire::ops::linear {
namespace {

using act_and_mul::Activation;

struct Case {
  std::string name;
  std::string kind;
  int64_t m = 1;
  int64_t n = 40;
  int64_t k = 256;
  bool norm = true;
  std::optional<Activation> activation = {};
  DType x = DType::kBF16;
  DType norm_weight = DType::kF32;
  DType out = DType::kBF16;
  bool bias = false;
  bool accumulate = false;
  ActivationMode mode = ActivationMode::kBf16;
};

void AppendKind(std::string_view kind, ActivationMode mode, std::vector<Case>& cases) {
  constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh,
                                         Activation::kGelu};
  constexpr DType kTypes[] = {DType::kBF16, DType::kF16, DType::kF32};
  const DType own = kind == "f16" || kind == "f32" ? KindNamed(kind).dtype : DType::kBF16;
  for (const int64_t m : {0, 1, 2, 8, 9, 33}) {
    for (int form = 1; form <= 3; ++form) {
      const size_t index = cases.size();
      Case c = {.name = StrCat(kind, "_m", m, "_", form), .kind = std::string(kind), .m = m};
      c.mode = mode;
      c.norm = form % 2 == 1;
      c.x = index % 4 == 3 ? kTypes[index / 4 % 3] : own;
      c.norm_weight = index % 7 == 6 ? c.x : DType::kF32;
      c.out = kTypes[index / 2 % 3];
      c.bias = index % 2 == 1;
      if (form >= 2) {
        c.activation = kActivations[index / 3 % 3];
      } else {
        c.accumulate = index % 3 == 0;
      }
      cases.push_back(c);
    }
  }
}

std::vector<Case> ConformanceCases() {
  constexpr Activation kSilu = Activation::kSilu;
  std::vector<Case> cases;
  for (const std::string_view kind :
       {"bf16", "f16", "f32", "q4_k", "q6_k", "q8_0", "f8_feature", "gptq2_act_order"}) {
    AppendKind(kind, ActivationMode::kBf16, cases);
  }
  AppendKind("f8_square", ActivationMode::kFp8, cases);
  // Each number of groups that share a row's sum, and rows that fill no span.
  for (const int64_t k : {64, 96, 1088, 2048, 4096, 8192, 16384}) {
    for (const int64_t m : {1, 2, 3}) {
      cases.push_back({.name = StrCat("k", k, "_m", m), .kind = "bf16", .m = m, .k = k});
    }
  }
  // Each shape of a block.
  for (const int64_t n : {5200, 16432}) {
    for (const std::string_view kind : {"bf16", "q8_0", "q4_k"}) {
      cases.push_back({.name = StrCat(kind, "_n", n),
                       .kind = std::string(kind),
                       .m = 8,
                       .n = n,
                       .activation = kSilu});
      cases.push_back({.name = StrCat(kind, "_n", n, "_m16"),
                       .kind = std::string(kind),
                       .m = 16,
                       .n = n,
                       .activation = kSilu});
    }
  }
  return cases;
}

class LinearFused : public ConformanceTest<Case> {
 protected:
  // A context for the other operators, which have implementations of other names.
  OpContext Others() {
    OpContext context = Context();
    context.implementation = {};
    return context;
  }

  // What `args` asks for, made by three operators.
  std::vector<float> Apart(Args args, TypedArray& out) {
    TypedArray normed(args.x.dtype(), args.x.shape());
    if (args.norm.weight.defined()) {
      Expect(RunOnDevice(Others(), rms_norm::Args{.x = args.x,
                                                  .weight = args.norm.weight,
                                                  .out = normed.View(),
                                                  .epsilon = args.norm.epsilon,
                                                  .weight_offset = args.norm.weight_offset}));
      args.x = normed.View();
    }
    args.norm = {};
    if (!args.activation.has_value()) {
      Expect(RunOnDevice(Context(), args));
      return out.Values();
    }
    const Activation activation = *args.activation;
    TypedArray gate_up(args.out.dtype(), {args.out.dim(0), args.weight->n()});
    args.out = gate_up.View();
    args.activation.reset();
    Expect(RunOnDevice(Context(), args));
    Expect(RunOnDevice(
        Others(),
        act_and_mul::Args{.gate_up = gate_up.View(), .out = out.View(), .activation = activation}));
    return out.Values();
  }

  static void Expect(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }
};

INSTANTIATE_TEST_SUITE_P(All, LinearFused,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(LinearFused, HasTheBitsOfOperatorsApart) {
  const Case& c = GetParam().problem;
  std::mt19937_64 rng(TestSeed());
  const SourceWeight source(rng, KindNamed(c.kind), c.n, c.k);
  auto packed = PackWeight(Context(), std::span(&source.source(), 1), c.mode);
  ASSERT_TRUE(packed.ok()) << packed.status().message();
  const int64_t columns = c.activation.has_value() ? c.n / 2 : c.n;
  TypedArray x(c.x, {c.m, c.k}, c.k + 8);
  TypedArray out(c.out, {c.m, columns}, columns + 3);
  TypedArray norm_weight(c.norm_weight, {c.k});
  std::vector<float> bias = RandomFloats(rng, c.n);
  const std::vector<float> before = RandomFloats(rng, c.m * columns);
  x.Assign(RandomFloats(rng, c.m * c.k));
  norm_weight.Assign(RandomFloats(rng, c.k));
  Args args = {.x = x.View(),
               .weight = packed->get(),
               .bias = {},
               .out = out.View(),
               .accumulate = c.accumulate,
               .activation = c.activation};
  if (c.bias) {
    args.bias = TensorView(bias.data(), DType::kF32, {c.n});
  }
  Args product = args;
  product.activation.reset();
  TypedArray all(c.out, {c.m, c.n});
  product.out = all.View();
  if (!Accepts(ImplementationsOf, product)) {
    GTEST_SKIP();
  }
  if (c.norm) {
    args.norm = {.weight = norm_weight.View(), .epsilon = 0.5f, .weight_offset = 0.25f};
  }
  out.Assign(before);
  const std::vector<float> expected = Apart(args, out);
  out.Assign(before);
  Expect(RunOnDevice(Context(), args));
  EXPECT_EQ(BitMismatch(out.Values(), expected), "");
  EXPECT_EQ(out.Damage(), "");
}

}  // namespace
}  // namespace quire::ops::linear
