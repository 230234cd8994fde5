// Problems that the test and the benchmark of moe share.
#pragma once

#include <list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/linear/weight_sources.h"
#include "ops/moe/moe.h"

namespace quire::ops::moe {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.ids);
  visit(args.weights);
  visit(args.out);
}

struct Case {
  std::string name;
  int64_t tokens = 0;
  int64_t k = 2;
  int64_t experts = 4;
  int64_t hidden = 64;    // H
  int64_t features = 48;  // I
  std::string kind = "f32";
  linear::ActivationMode mode = linear::ActivationMode::kFp32;
  DType x = DType::kF32;
  DType out = DType::kF32;
  int64_t shared = 0;
  bool shared_gate = false;
  bool accumulate = false;
  bool gelu = false;
  double skipped = 0.0;  // share of ids that are -1
  bool is_random = false;
};

inline std::vector<Case> Cases() {
  using linear::ActivationMode;
  std::vector<Case> cases = {
      {"no_tokens", 0},
      {"one_token", 1},
      {"more_experts_than_choices", 3, 2, 40},
      {"one_expert", 17, 1, 1},
      {"odd", 5, 3, 6, 37, 19},
      {"gelu", 9, 2, 4, 64, 48, "f32", ActivationMode::kFp32, DType::kF32, DType::kF32, 0, false,
       false, true},
      {"shared", 9, 2, 4, 64, 48, "f32", ActivationMode::kFp32, DType::kF32, DType::kF32, 2},
      {"shared_gate_accumulate", 9, 2, 4, 64, 48, "f16", ActivationMode::kFp32, DType::kF16,
       DType::kF16, 1, true, true},
      {"bf16", 33, 4, 8, 64, 64, "bf16", ActivationMode::kBf16, DType::kBF16, DType::kBF16},
      {"f8_square", 6, 2, 4, 160, 144, "f8_square", ActivationMode::kBf16, DType::kBF16,
       DType::kBF16, 1},
      {"f8_activations", 9, 2, 4, 160, 144, "f8_square", ActivationMode::kFp8, DType::kBF16,
       DType::kBF16, 1},
      {"f8_activations_many", 150, 3, 4, 256, 128, "f8_square", ActivationMode::kFp8},
      {"i8", 6, 2, 4, 64, 64, "i8_feature", ActivationMode::kBlock8},
      {"awq", 6, 2, 4, 64, 64, "awq", ActivationMode::kBlock8, DType::kF16, DType::kF16},
      {"q4_1", 21, 2, 4, 64, 64, "q4_1", ActivationMode::kBlock8},
      {"q4_0", 9, 2, 4, 64, 96, "q4_0", ActivationMode::kBlock8, DType::kBF16, DType::kBF16},
      {"q4_k", 9, 2, 4, 256, 256, "q4_k", ActivationMode::kBlock8, DType::kBF16},
      {"q6_k", 5, 2, 4, 256, 256, "q6_k", ActivationMode::kBlock8, DType::kBF16},
      {"q8_0", 30, 2, 4, 128, 96, "q8_0", ActivationMode::kBlock8},
      {"f16", 9, 2, 40, 128, 64, "f16", ActivationMode::kBf16, DType::kF16, DType::kF16},
      {"many_rows", 300, 4, 9, 128, 192, "bf16", ActivationMode::kBf16, DType::kBF16, DType::kBF16,
       1, true, true, false, 0.2},
      {"many_rows_f32", 150, 3, 4, 192, 64, "bf16", ActivationMode::kBf16},
      {"many_rows_q4_k", 200, 2, 3, 256, 256, "q4_k", ActivationMode::kBlock8, DType::kBF16},
      {"skipped", 17, 3, 4, 64, 48, "f32", ActivationMode::kFp32, DType::kF32, DType::kF32, 0,
       false, true, false, 0.5},
      {"all_skipped", 5, 3, 4, 64, 48, "f32", ActivationMode::kFp32, DType::kF32, DType::kF32, 1,
       false, false, false, 1.0},
      {"no_choices", 5, 0, 4, 64, 48, "f32", ActivationMode::kFp32, DType::kF32, DType::kF32, 1},
  };
  for (int i = 0; i < 20; ++i) {
    cases.push_back({.name = StrCat("random_", i), .is_random = true});
  }
  return cases;
}

inline Case RandomCase(std::mt19937_64& rng) {
  const auto below = [&](int64_t bound) { return static_cast<int64_t>(rng() % bound); };
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
  Case c{.name = "random"};
  c.tokens = below(24);
  c.k = below(5);
  c.experts = 1 + below(9);
  c.hidden = 1 + below(120);
  c.features = 1 + below(120);
  c.kind = below(2) == 0 ? "f32" : "bf16";
  c.mode = below(2) == 0 ? linear::ActivationMode::kFp32 : linear::ActivationMode::kBf16;
  c.x = kTypes[below(3)];
  c.out = kTypes[below(3)];
  c.shared = below(3);
  c.shared_gate = below(2) == 0;
  c.accumulate = below(2) == 0;
  c.gelu = below(2) == 0;
  c.skipped = 0.3 * static_cast<double>(below(3));
  return c;
}

// A case with its data. x and out have gaps between their rows.
struct Problem {
  Problem(const OpContext& context, const Case& problem, std::mt19937_64& rng)
      : c(problem),
        x(c.x, {c.tokens, c.hidden}, c.hidden + (c.hidden % 128 == 0 ? 8 : 2)),
        out(c.out, {c.tokens, c.hidden}, c.hidden + 4),
        before(RandomFloats(rng, c.tokens * c.hidden)),
        ids(RandomInts(rng, c.tokens * c.k, 0, static_cast<int32_t>(c.experts) - 1)),
        weights(RandomFloats(rng, c.tokens * c.k, 0.5f, 0.3f)) {
    for (int32_t& id : ids) {
      id = std::uniform_real_distribution<double>()(rng) < c.skipped ? -1 : id;
    }
    x.Assign(RandomFloats(rng, c.tokens * c.hidden));
    const linear::SourceKind kind = linear::KindNamed(c.kind);
    for (int64_t e = 0; e < c.experts + c.shared; ++e) {
      const int64_t features = e < c.experts ? c.features : 2 * c.features;
      Expert expert;
      expert.gate_up = Pack(context, rng, kind, 2 * features, c.hidden);
      expert.down = Pack(context, rng, kind, c.hidden, features);
      (e < c.experts ? experts : shared).push_back(expert);
    }
    ids.resize(ids.size() + 1);  // so that there is memory without choices
    weights.resize(weights.size() + 1);
    args = {
        .x = x.View(),
        .ids = TensorView(ids.data(), DType::kI32, {c.tokens, c.k}),
        .weights = TensorView(weights.data(), DType::kF32, {c.tokens, c.k}),
        .experts = experts,
        .shared = shared,
        .shared_gate = nullptr,
        .out = out.View(),
        .accumulate = c.accumulate,
        .activation = c.gelu ? act_and_mul::Activation::kGeluTanh : act_and_mul::Activation::kSilu};
    if (c.shared_gate) {
      args.shared_gate = Pack(context, rng, linear::KindNamed("f32"), 1, c.hidden);
    }
  }

  const linear::PackedWeight* Pack(const OpContext& context, std::mt19937_64& rng,
                                   const linear::SourceKind& kind, int64_t n, int64_t k) {
    const linear::SourceWeight weight(rng, kind, n, k);
    auto made = linear::PackWeight(context, std::span(&weight.source(), 1), c.mode);
    QUIRE_CHECK(made.ok()) << made.status().message();
    packed.push_back(*made);
    return packed.back().get();
  }

  Case c;
  TypedArray x;
  TypedArray out;
  std::vector<float> before;
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<Expert> experts;
  std::vector<Expert> shared;
  std::vector<std::shared_ptr<const linear::PackedWeight>> packed;
  Args args;
};

}  // namespace quire::ops::moe
