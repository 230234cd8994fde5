// Problems that the conformance test and the benchmark share.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace quire::ops::embedding {

struct Case {
  const char* name;
  DType dtype;
  int64_t tokens;
  int64_t vocabulary;
  int64_t elements;  // D
  int64_t gap;       // elements between the rows of out
  float scale;
};

inline constexpr Case kCases[] = {
    {"none", DType::kF32, 0, 4, 8, 0, 1.0f},
    {"f32", DType::kF32, 5, 9, 37, 3, 1.0f},
    {"f16_scaled", DType::kF16, 5, 9, 37, 3, 25.298221f},
    {"bf16", DType::kBF16, 3, 9, 40, 0, 1.0f},
    {"q4_0", DType::kQ4_0, 3, 9, 64, 0, 1.0f},
    {"q4_1", DType::kQ4_1, 3, 9, 64, 5, 1.0f},
    {"q5_0", DType::kQ5_0, 3, 9, 96, 0, 1.0f},
    {"q5_1", DType::kQ5_1, 3, 9, 64, 0, 1.0f},
    {"q8_0", DType::kQ8_0, 3, 9, 576, 0, 1.0f},
    {"q4_k", DType::kQ4_K, 3, 9, 512, 0, 1.0f},
    {"q5_k", DType::kQ5_K, 3, 9, 256, 0, 1.0f},
    {"q6_k_scaled", DType::kQ6_K, 3, 9, 512, 16, 8.0f},
    {"smollm2_decode", DType::kQ8_0, 1, 49152, 576, 0, 1.0f},
    {"smollm2_prefill", DType::kQ8_0, 512, 49152, 576, 0, 1.0f},
    {"gemma3_prefill", DType::kQ8_0, 512, 262144, 640, 0, 25.298221f},
};

}  // namespace quire::ops::embedding
