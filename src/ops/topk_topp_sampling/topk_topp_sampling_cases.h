// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/strcat.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.logits);
  visit(args.drawn);
  visit(args.drawn_before);
}

struct Case {
  std::string name = {};
  int64_t rows = 0;
  int64_t vocabulary = 1;
  float deviation = 3.0f;      // of the normally distributed logits; 0: all equal
  bool whole_numbers = false;  // logits rounded: many ties
  SamplingParams params = {};  // of every row, but for its seed
  int64_t history = 0;         // tokens of the prompt, and of the output, of every row
  double masked = 0;           // share of the tokens that are -infinity
  bool random = false;         // the shape, the logits and each row's parameters come from the seed
};

inline constexpr int64_t kSmolLm = 49152;
inline constexpr int64_t kLlama3 = 128256;

// Every stage of the distribution, and its edges.
inline std::vector<Case> StageCases() {
  const SamplingParams penalties = {.temperature = 0.9f,
                                    .top_logprobs = 2,
                                    .repetition_penalty = 1.3f,
                                    .presence_penalty = 0.5f,
                                    .frequency_penalty = 0.25f};
  SamplingParams all = penalties;
  all.top_k = 300;
  all.top_p = 0.95f;
  all.min_p = 0.001f;
  all.logit_bias = {{3, 4.0f}, {500, -100.0f}, {3, 0.5f}, {776, 2.0f}};
  constexpr FilterOrder kJoint = FilterOrder::kJoint;
  return {
      {"none", 0, 100, 3.0f, false, {}},
      {"one_token", 2, 1, 3.0f, false, {.top_logprobs = 1}},
      {"greedy_ties", 7, 1000, 3.0f, true, {.temperature = 0.0f, .top_logprobs = 20}},
      {"plain", 9, 1000, 3.0f, false, {}},
      {"plain_ties", 9, 1300, 1.0f, true, {.temperature = 0.7f, .top_logprobs = 0}},
      {"top_k", 9, 777, 2.0f, false, {.top_k = 40}},
      {"top_k_ties", 9, 5000, 1.0f, true, {.top_k = 40, .top_p = 0.8f, .top_logprobs = 5}},
      {"top_k_most", 9, 777, 2.0f, false, {.top_k = 700, .min_p = 0.01f}},
      {"top_k_all", 9, 777, 2.0f, false, {.top_k = 777, .top_p = 0.9f}},
      {"top_k_negative", 9, 777, 2.0f, false, {.top_k = -1}},
      {"top_k_beyond_blocks", 5, 9000, 1.0f, false, {.top_k = 400}},
      {"top_k_beyond_blocks_ties", 5, 9000, 1.0f, true, {.top_k = 3000, .top_p = 0.9f}},
      {"top_p", 9, 777, 2.0f, false, {.top_p = 0.9f}},
      {"top_p_tiny", 9, 777, 2.0f, true, {.top_p = 1e-6f}},
      {"top_p_equal", 3, 5000, 0.0f, false, {.top_p = 0.99f}},
      {"top_p_normal", 3, 9001, 1.0f, false, {.top_p = 0.9f}},
      {"top_p_wide", 3, 9001, 4.0f, false, {.top_p = 0.9f}},
      {"top_p_peaked", 3, 9001, 30.0f, false, {.top_p = 0.9f}},
      {"top_p_ties", 3, 9001, 1.0f, true, {.top_p = 0.7f}},
      {"top_p_masked", 3, 9001, 1.0f, false, {.top_p = 0.9f}, 0, 0.999},
      {"min_p", 9, 777, 2.0f, false, {.temperature = 1.3f, .min_p = 0.05f}},
      {"min_p_one", 9, 777, 2.0f, true, {.min_p = 1.0f}},
      {"min_p_least", 9, 777, 2.0f, false, {.min_p = 1e-30f}},
      {"top_p_min_p", 9, 777, 2.0f, true, {.temperature = 1.5f, .top_p = 0.95f, .min_p = 0.1f}},
      {"joint", 9, 777, 1.0f, false, {.top_k = 200, .top_p = 0.6f, .order = kJoint}},
      {"joint_top_k_less", 9, 777, 1.0f, true, {.top_k = 20, .top_p = 0.6f, .order = kJoint}},
      {"joint_min_p",
       9,
       777,
       1.0f,
       false,
       {.top_k = 90, .top_p = 0.5f, .min_p = 0.2f, .order = kJoint}},
      {"cold", 9, 777, 2.0f, false, {.temperature = 1e-4f, .top_p = 0.999f, .top_logprobs = 3}},
      {"coldest", 9, 777, 2.0f, true, {.temperature = 1e-45f}},
      {"coldest_top_p", 3, 9001, 2.0f, true, {.temperature = 1e-45f, .top_p = 0.5f}},
      {"coldest_min_p", 9, 777, 1e-38f, false, {.temperature = 1e-45f, .min_p = 0.5f}},
      {"hot", 9, 777, 2.0f, false, {.temperature = 1e38f}},
      {"hottest_top_p", 9, 9777, 2.0f, false, {.temperature = 3e38f, .top_p = 0.5f}},
      {"penalties", 9, 777, 2.0f, false, penalties, 50},
      {"penalties_greedy",
       9,
       777,
       2.0f,
       true,
       {.temperature = 0, .repetition_penalty = 0.5f, .frequency_penalty = -2.0f},
       300},
      {"penalties_without_history", 9, 777, 2.0f, false, penalties},
      {"bias", 9, 777, 2.0f, false, {.top_logprobs = 3, .logit_bias = {{7, 100.0f}, {8, 99.0f}}}},
      {"all", 9, 777, 2.0f, false, all, 20},
      {"masked", 9, 777, 2.0f, false, {.top_k = 400}, 0, 0.9},
      {"masked_penalties", 9, 777, 2.0f, false, all, 100, 0.9},
  };
}

// Every kind of draw at the sizes around vectors, blocks and groups.
inline std::vector<Case> SizeCases() {
  const std::pair<const char*, SamplingParams> kinds[] = {
      {"greedy", {.temperature = 0.0f}},
      {"plain", {.top_logprobs = 1}},
      {"top_k", {.top_k = 12}},
      {"top_p", {.top_p = 0.8f}},
      {"joint", {.top_k = 5, .top_p = 0.7f, .min_p = 0.01f, .order = FilterOrder::kJoint}},
      {"penalized", {.top_p = 0.9f, .repetition_penalty = 2.0f, .logit_bias = {{0, 1.5f}}}},
  };
  std::vector<Case> cases;
  for (const int64_t size : {1, 2, 15, 16, 17, 255, 256, 257, 4095, 4096, 4097, 8193}) {
    for (const auto& [kind, params] : kinds) {
      cases.push_back(
          {StrCat("size_", size, "_", kind), 3, size, 1.5f, false, params, 4, 0, false});
    }
  }
  return cases;
}

// Real vocabularies.
inline std::vector<Case> ModelCases() {
  return {
      {"smollm_plain", 64, kSmolLm, 2.0f, false, {.temperature = 0.8f}},
      {"smollm_top_p", 64, kSmolLm, 2.0f, false, {.top_p = 0.95f}},
      {"llama3_greedy", 64, kLlama3, 3.0f, false, {.temperature = 0.0f}},
      {"llama3_plain", 64, kLlama3, 3.0f, false, {}},
      {"llama3_plain_normal", 64, kLlama3, 1.0f, false, {}},
      {"llama3_plain_equal", 64, kLlama3, 0.0f, false, {}},
      {"llama3_top_k",
       64,
       kLlama3,
       3.0f,
       false,
       {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f}},
      {"llama3_top_k_large", 64, kLlama3, 1.0f, false, {.top_k = 2000}},
      {"llama3_top_p", 64, kLlama3, 3.0f, false, {.top_p = 0.9f}},
      {"llama3_top_p_normal", 64, kLlama3, 1.0f, false, {.top_p = 0.9f}},
      {"llama3_top_p_equal", 64, kLlama3, 0.0f, false, {.top_p = 0.9f}},
      {"llama3_min_p", 64, kLlama3, 3.0f, false, {.min_p = 0.05f, .top_logprobs = 5}},
      {"llama3_penalties",
       64,
       kLlama3,
       3.0f,
       false,
       {.top_k = 50, .repetition_penalty = 1.1f, .frequency_penalty = 0.1f},
       1000},
  };
}

// For the conformance suite: with few rows of the real vocabularies, and with random problems.
inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases = StageCases();
  for (Case& c : ModelCases()) {
    c.rows = 2;
    cases.push_back(c);
  }
  const std::vector<Case> sizes = SizeCases();
  cases.insert(cases.end(), sizes.begin(), sizes.end());
  for (int i = 0; i < 24; ++i) {
    cases.push_back({.name = StrCat("random_", i), .random = true});
  }
  return cases;
}

}  // namespace quire::ops::topk_topp_sampling
