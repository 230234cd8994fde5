// Problems that the test and the benchmark of moe_route share.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/moe_route/moe_route.h"

namespace quire::ops::moe_route {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.logits);
  visit(args.bias);
  visit(args.ids);
  visit(args.weights);
}

struct Case {
  std::string name;
  int64_t tokens = 0;
  int64_t experts = 1;
  int64_t k = 1;
  Scoring scoring = Scoring::kSoftmax;
  bool renormalize = false;
  bool bias = false;
  int groups = 1;
  int top_groups = 1;
  float scale = 1.0f;
  DType dtype = DType::kF32;
  bool is_random = false;  // everything comes from the seed
};

inline std::vector<Case> Cases() {
  constexpr Scoring kSoftmax = Scoring::kSoftmax;
  constexpr Scoring kTopK = Scoring::kTopKSoftmax;
  constexpr Scoring kSigmoid = Scoring::kSigmoid;
  std::vector<Case> cases = {
      {"no_tokens", 0, 8, 2, kSoftmax},
      {"one_expert", 3, 1, 1, kSoftmax},
      {"all_experts", 5, 7, 7, kSoftmax},
      {"mixtral", 33, 8, 2, kTopK},
      {"qwen3", 17, 128, 8, kSoftmax, true},
      {"qwen2_bf16", 17, 60, 4, kSoftmax, false, false, 1, 1, 1.0f, DType::kBF16},
      {"gpt_oss_f16", 9, 32, 4, kTopK, false, false, 1, 1, 1.0f, DType::kF16},
      {"deepseek_v2", 19, 160, 6, kSoftmax, false, false, 8, 3, 16.0f},
      {"deepseek_v3", 33, 256, 8, kSigmoid, true, true, 8, 4, 2.5f},
      {"sigmoid_plain", 6, 19, 3, kSigmoid},
      {"sigmoid_bias", 6, 65, 6, kSigmoid, false, true},
      {"sigmoid_groups_of_one", 4, 12, 3, kSigmoid, true, true, 12, 5},
      {"sigmoid_whole_groups", 4, 12, 8, kSigmoid, true, true, 3, 2},
      {"topk_groups", 5, 48, 8, kTopK, false, false, 6, 2},
      {"largest", 2, 1024, 32, kSoftmax, true},
      {"single_token", 1, 64, 6, kSoftmax},
  };
  for (int i = 0; i < 20; ++i) {
    cases.push_back({.name = StrCat("random_", i), .is_random = true});
  }
  return cases;
}

inline Case RandomCase(std::mt19937_64& rng) {
  Case c{.name = "random"};
  const auto below = [&](int64_t bound) { return static_cast<int64_t>(rng() % bound); };
  c.tokens = below(20);
  c.groups = static_cast<int>(1 + below(6));
  c.top_groups = static_cast<int>(1 + below(c.groups));
  const int64_t size = 1 + below(40);
  c.experts = c.groups * size;
  c.k = 1 + below(c.top_groups * size);
  c.scoring = static_cast<Scoring>(below(3));
  c.renormalize = below(2) == 0;
  c.bias = c.scoring == Scoring::kSigmoid && below(2) == 0;
  c.scale = 0.5f + static_cast<float>(below(4));
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
  c.dtype = kTypes[below(3)];
  return c;
}

// A case with its data. Logits are few different numbers, so that ties are many and near ties,
// which rounding could turn, are not.
struct Problem {
  Problem(const Case& c, std::mt19937_64& rng)
      : logits(c.dtype, {c.tokens, c.experts}, c.experts + 3),
        bias({c.experts}),
        ids({c.tokens, c.k}),
        weights({c.tokens, c.k}) {
    std::vector<float> values;
    for (const int32_t step : RandomInts(rng, c.tokens * c.experts, 1, 64)) {
      values.push_back(static_cast<float>(step) / 16.0f);
    }
    logits.Assign(values);
    values.clear();
    for (const int32_t step : RandomInts(rng, c.experts, -2, 2)) {
      values.push_back(static_cast<float>(step) / 4.0f);
    }
    bias.Assign(values);
    args = {.logits = logits.View(),
            .bias = {},
            .ids = ids.View(DType::kI32),
            .weights = weights.View(DType::kF32),
            .scoring = c.scoring,
            .renormalize = c.renormalize,
            .groups = c.groups,
            .top_groups = c.top_groups,
            .scale = c.scale};
    if (c.bias) {
      args.bias = bias.View(DType::kF32);
    }
  }

  TypedArray logits;
  GuardedArray<float> bias;
  GuardedArray<int32_t> ids;
  GuardedArray<float> weights;
  Args args;
};

}  // namespace quire::ops::moe_route
