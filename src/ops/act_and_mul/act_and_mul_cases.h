// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>

#include "ops/act_and_mul/act_and_mul.h"

namespace quire::ops::act_and_mul {

struct Case {
  const char* name;
  int64_t tokens;
  int64_t features;  // F
  int64_t gap;       // elements between the rows of gate_up; out has twice as many
  Activation activation;
};

inline constexpr Case kCases[] = {
    {"none", 0, 16, 0, Activation::kSilu},
    {"one_element", 1, 1, 0, Activation::kSilu},
    {"silu_tail", 5, 37, 3, Activation::kSilu},
    {"gelu_tail", 5, 37, 3, Activation::kGeluTanh},
    {"smollm2_decode", 1, 1536, 0, Activation::kSilu},
    {"smollm2_batch", 33, 1536, 16, Activation::kSilu},
    {"smollm2_prefill", 512, 1536, 0, Activation::kSilu},
    {"gemma3_decode", 1, 2048, 0, Activation::kGeluTanh},
    {"gemma3_prefill", 129, 2048, 0, Activation::kGeluTanh},
};

}  // namespace quire::ops::act_and_mul
