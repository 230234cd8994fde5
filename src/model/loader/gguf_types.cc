#include "model/loader/gguf_types.h"

#include <array>

namespace quire {

namespace {

struct ValueTypeInfo {
  std::string_view name;
  uint64_t bytes;
};

constexpr std::array<ValueTypeInfo, 13> kValueTypes = {{{"u8", 1},
                                                        {"i8", 1},
                                                        {"u16", 2},
                                                        {"i16", 2},
                                                        {"u32", 4},
                                                        {"i32", 4},
                                                        {"f32", 4},
                                                        {"bool", 1},
                                                        {"string", 0},
                                                        {"array", 0},
                                                        {"u64", 8},
                                                        {"i64", 8},
                                                        {"f64", 8}}};

// Index: tensor type number. Numbers 4, 5, 31..33 and 36..38 were withdrawn from the format.
constexpr std::array<std::string_view, 40> kTensorTypeNames = {
    "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
    "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
    "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
    "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};

}  // namespace

std::string_view GgufValueTypeName(uint32_t type) {
  return type < kValueTypes.size() ? kValueTypes[type].name : "unknown";
}

uint64_t GgufValueTypeBytes(uint32_t type) {
  return type < kValueTypes.size() ? kValueTypes[type].bytes : 0;
}

std::optional<DType> DTypeOfGguf(uint32_t type) {
  switch (type) {
    case 0: return DType::kF32;
    case 1: return DType::kF16;
    case 2: return DType::kQ4_0;
    case 3: return DType::kQ4_1;
    case 6: return DType::kQ5_0;
    case 7: return DType::kQ5_1;
    case 8: return DType::kQ8_0;
    case 12: return DType::kQ4_K;
    case 13: return DType::kQ5_K;
    case 14: return DType::kQ6_K;
    case 24: return DType::kI8;
    case 26: return DType::kI32;
    case 27: return DType::kI64;
    case 30: return DType::kBF16;
    default: return std::nullopt;
  }
}

std::string_view GgufTensorTypeName(uint32_t type) {
  const bool named = type < kTensorTypeNames.size() && !kTensorTypeNames[type].empty();
  return named ? kTensorTypeNames[type] : "unknown";
}

}  // namespace quire
