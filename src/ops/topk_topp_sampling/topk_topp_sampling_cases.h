// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>

#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

struct Case {
  const char* name;
  int64_t rows;
  int64_t vocabulary;
  float deviation;        // of the normally distributed logits; 0: all equal
  bool whole_numbers;     // logits rounded: many ties
  SamplingParams params;  // of every row, but for its seed
};

inline constexpr int64_t kLlama3 = 128256;

inline const Case kCases[] = {
    {"none", 0, 100, 3.0f, false, {}},
    {"one_token", 2, 1, 3.0f, false, {.top_logprobs = 1}},
    {"greedy_ties", 7, 1000, 3.0f, true, {.temperature = 0.0f, .top_logprobs = 20}},
    {"plain", 9, 1000, 3.0f, false, {}},
    {"plain_ties", 9, 1300, 1.0f, true, {.temperature = 0.7f, .top_logprobs = 0}},
    {"top_k", 9, 777, 2.0f, false, {.top_k = 40}},
    {"top_k_ties", 9, 5000, 1.0f, true, {.top_k = 40, .top_p = 0.8f, .top_logprobs = 5}},
    {"top_k_most", 9, 777, 2.0f, false, {.top_k = 700, .min_p = 0.01f}},
    {"top_p", 9, 777, 2.0f, false, {.top_p = 0.9f}},
    {"top_p_tiny", 9, 777, 2.0f, true, {.top_p = 1e-6f}},
    {"top_p_flat", 3, 5000, 0.0f, false, {.top_p = 0.99f}},
    {"min_p", 9, 777, 2.0f, false, {.temperature = 1.3f, .min_p = 0.05f}},
    {"min_p_one", 9, 777, 2.0f, true, {.min_p = 1.0f}},
    {"top_p_min_p", 9, 777, 2.0f, true, {.temperature = 1.5f, .top_p = 0.95f, .min_p = 0.1f}},
    {"cold", 9, 777, 2.0f, false, {.temperature = 1e-4f, .top_p = 0.999f, .top_logprobs = 3}},
    {"coldest", 9, 777, 2.0f, true, {.temperature = 1e-45f}},
    {"hot", 9, 777, 2.0f, false, {.temperature = 1e38f}},
    {"llama3_greedy", 64, kLlama3, 3.0f, false, {.temperature = 0.0f}},
    {"llama3_plain", 64, kLlama3, 3.0f, false, {}},
    {"llama3_flat", 8, kLlama3, 1.0f, false, {.top_p = 0.95f}},
    {"llama3_top_k", 64, kLlama3, 3.0f, false, {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f}},
    {"llama3_top_p", 64, kLlama3, 3.0f, false, {.temperature = 0.8f, .top_p = 0.95f}},
    {"llama3_min_p", 64, kLlama3, 3.0f, false, {.min_p = 0.05f, .top_logprobs = 5}},
};

}  // namespace quire::ops::topk_topp_sampling
