// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>

namespace quire::ops::rms_norm {

struct Case {
  const char* name;
  int64_t tokens;
  int64_t heads;     // 0: x is [T, D]
  int64_t elements;  // D
  int64_t gap;       // elements between the rows of T
  bool accumulate;
  double atol;  // against the reference, beside a relative 2e-6; a sum may cancel
};

inline constexpr Case kCases[] = {
    {"none", 0, 0, 64, 0, false, 1e-7},
    {"one_element", 1, 0, 1, 0, false, 1e-7},
    {"shorter_than_a_vector", 3, 0, 7, 2, false, 1e-7},
    {"tail", 5, 0, 83, 0, true, 5e-6},
    {"smollm2_decode", 1, 0, 576, 0, false, 1e-7},
    {"smollm2_batch", 32, 0, 576, 64, false, 1e-7},
    {"smollm2_prefill", 512, 0, 576, 0, false, 1e-7},
    {"gemma3_post_norm", 7, 0, 640, 3, true, 5e-6},
    {"gemma3_query_norm", 33, 4, 256, 512, false, 1e-7},
    {"odd_heads", 9, 3, 21, 5, true, 5e-6},
    {"large_row", 2, 0, 8192, 0, false, 1e-7},
};

}  // namespace quire::ops::rms_norm
