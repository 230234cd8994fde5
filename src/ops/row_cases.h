// The types in which the row-wise operators are tested. For tests and benchmarks only.
#pragma once

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/strcat.h"
#include "ops/conformance.h"

namespace quire::ops {

struct RowTypes {
  const char* name = "f32";
  DType x = DType::kF32;
  DType weight = DType::kF32;
};

inline constexpr RowTypes kRowTypes[] = {{"f32", DType::kF32, DType::kF32},
                                         {"f16", DType::kF16, DType::kF16},
                                         {"bf16", DType::kBF16, DType::kBF16}};
inline constexpr RowTypes kMixedRowTypes[] = {{"f16_f32", DType::kF16, DType::kF32},
                                              {"bf16_f32", DType::kBF16, DType::kF32}};

// Appends every case of `shapes` in every one of `types`.
template <typename Case, size_t kCount>
void AppendInTypes(const std::vector<Case>& shapes, const RowTypes (&types)[kCount],
                   std::vector<Case>& cases) {
  for (const RowTypes& type : types) {
    for (const Case& shape : shapes) {
      cases.push_back(shape);
      cases.back().types = type;
      cases.back().name = StrCat(shape.name, "_", type.name);
    }
  }
}

// Appends `count` copies of `random_case`, whose shapes the problem draws from the test's seed, the
// types in turn.
template <typename Case, size_t kCount>
void AppendRandom(const Case& random_case, int count, const RowTypes (&types)[kCount],
                  std::vector<Case>& cases) {
  for (int i = 0; i < count; ++i) {
    cases.push_back(random_case);
    cases.back().types = types[static_cast<size_t>(i) % kCount];
    cases.back().name = StrCat("random_", i);
  }
}

inline int64_t DrawInt(std::mt19937_64& rng, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(rng);
}
inline bool DrawBool(std::mt19937_64& rng) {
  return DrawInt(rng, 0, 1) == 1;
}

// Sets every element to NaN, so that one which an operator leaves out is seen.
inline void Spoil(TypedArray& array) {
  array.Assign(std::vector<float>(static_cast<size_t>(array.shape().elements()),
                                  std::numeric_limits<float>::quiet_NaN()));
}

}  // namespace quire::ops
