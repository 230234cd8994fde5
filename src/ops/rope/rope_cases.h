// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>

#include "ops/rope/rope.h"

namespace quire::ops::rope {

struct Case {
  const char* name;
  int64_t tokens;
  int64_t heads;
  int64_t elements;  // D
  int64_t rotated;   // r
  int64_t gap;       // elements between the rows of T
  Style style;
};

inline constexpr Case kCases[] = {
    {"none", 0, 2, 8, 8, 0, Style::kNeox},
    {"one_pair", 1, 1, 2, 2, 0, Style::kNeox},
    {"neox_tail", 3, 3, 46, 42, 5, Style::kNeox},
    {"interleaved_tail", 3, 3, 46, 42, 5, Style::kInterleaved},
    {"neox_partial", 5, 2, 80, 20, 0, Style::kNeox},
    {"interleaved_long", 2, 1, 600, 600, 0, Style::kInterleaved},
    {"neox_long", 2, 1, 600, 600, 0, Style::kNeox},
    {"smollm2_decode", 1, 12, 64, 64, 192, Style::kInterleaved},
    {"smollm2_prefill", 512, 12, 64, 64, 192, Style::kInterleaved},
    {"gemma3_prefill", 129, 5, 256, 256, 256, Style::kNeox},
};

}  // namespace quire::ops::rope
