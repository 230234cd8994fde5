// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/strcat.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::speculative_sampling {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.logits);
  visit(args.draft_probs);
}

struct Case {
  std::string name = {};
  int64_t sequences = 0;
  int64_t drafts = 0;  // of every sequence; -n: 0 to n, by the seed
  int64_t vocabulary = 1;
  float deviation = 2.0f;  // of the normally distributed logits
  bool probs = false;      // with draft_probs
  double likely = 0.7;     // share of the drafts that are the token of plain sampling
  SamplingParams params = {};
  int64_t history = 0;  // tokens of the prompt, and of the output, of every sequence
  bool random = false;  // the shape and each sequence's parameters come from the seed
};

inline std::vector<Case> ConformanceCases() {
  const SamplingParams penalties = {.temperature = 0.9f,
                                    .top_p = 0.95f,
                                    .repetition_penalty = 1.2f,
                                    .presence_penalty = 0.3f,
                                    .frequency_penalty = 0.2f};
  constexpr int64_t kLlama3 = 128256;
  std::vector<Case> cases = {
      {"none", 0, 0, 100},
      {"no_drafts", 5, 0, 300},
      {"one_draft", 5, 1, 300},
      {"four_drafts", 5, 4, 300},
      {"ragged", 9, -6, 300},
      {"ragged_ties", 9, -6, 300, 0.0f},
      {"greedy", 9, -6, 300, 2.0f, false, 0.7, {.temperature = 0}},
      {"all_right", 5, 7, 300, 2.0f, false, 1.0, {.top_p = 0.9f, .top_logprobs = 2}},
      {"all_wrong", 5, 7, 300, 2.0f, false, 0.0, {.top_k = 20, .top_logprobs = 0}},
      {"penalties", 9, -6, 300, 2.0f, false, 0.8, penalties, 30},
      {"one_token", 3, 3, 1},
      {"probs", 9, -6, 300, 2.0f, true},
      {"probs_no_drafts", 4, 0, 300, 2.0f, true},
      {"probs_greedy", 9, -6, 300, 2.0f, true, 0.7, {.temperature = 0}},
      {"probs_top_k", 9, -6, 300, 2.0f, true, 0.7, {.top_k = 10, .top_logprobs = 3}},
      {"probs_joint",
       9,
       -6,
       300,
       1.0f,
       true,
       0.7,
       {.top_k = 90, .top_p = 0.7f, .order = FilterOrder::kJoint}},
      {"probs_min_p", 9, -6, 5000, 2.0f, true, 0.7, {.min_p = 0.05f}},
      {"probs_penalties", 9, -6, 300, 2.0f, true, 0.8, penalties, 30},
      {"probs_one_token", 3, 3, 1, 2.0f, true},
      {"llama3", 2, 3, kLlama3, 2.0f, false, 0.9, {.top_p = 0.9f}},
      {"llama3_probs", 1, 2, kLlama3, 2.0f, true, 0.9, {}},
  };
  for (int i = 0; i < 20; ++i) {
    cases.push_back({.name = StrCat("random_", i), .random = true});
  }
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  constexpr int64_t kLlama3 = 128256;
  return {
      {"greedy", 16, 4, kLlama3, 3.0f, false, 0.7, {.temperature = 0}},
      {"top_p", 16, 4, kLlama3, 3.0f, false, 0.7, {.top_p = 0.9f}},
      {"top_k", 16, 4, kLlama3, 3.0f, false, 0.7, {.top_k = 50, .top_p = 0.9f}},
      {"probs_top_k", 16, 4, kLlama3, 3.0f, true, 0.7, {.top_k = 50, .top_p = 0.9f}},
      {"probs", 16, 4, kLlama3, 3.0f, true, 0.7, {}},
  };
}

}  // namespace quire::ops::speculative_sampling
