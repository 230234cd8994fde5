// One element of a plain floating type, by its DType or as a C++ type.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace quire {

// Storage of one element; templates over these stand for the types f16, bf16 and f8e4m3.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Float8 {
  uint8_t bits;
};

inline float ToFloat(float value) {
  return value;
}
inline float ToFloat(Half value) {
  return HalfToFloat(value.bits);
}
inline float ToFloat(BFloat16 value) {
  return BFloat16ToFloat(value.bits);
}
inline float ToFloat(Float8 value) {
  return Float8ToFloat(value.bits);
}

// The nearest element, ties to even; see half.h and float8.h for what lies outside the range.
inline void FromFloat(float value, float& to) {
  to = value;
}
inline void FromFloat(float value, Half& to) {
  to.bits = FloatToHalf(value);
}
inline void FromFloat(float value, BFloat16& to) {
  to.bits = FloatToBFloat16(value);
}
inline void FromFloat(float value, Float8& to) {
  to.bits = FloatToFloat8(value);
}

inline bool IsFloating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kF8E4M3;
}

// Calls body(T{}) with the type that stores `dtype`. REQUIRES: IsFloating(dtype).
template <typename Body>
decltype(auto) WithElementType(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF16: return body(Half{});
    case DType::kBF16: return body(BFloat16{});
    case DType::kF8E4M3: return body(Float8{});
    default: QUIRE_CHECK(dtype == DType::kF32) << InfoOf(dtype).name; return body(float{});
  }
}

// Element `index` of an array. REQUIRES: IsFloating(dtype).
inline float LoadElement(const void* data, DType dtype, int64_t index) {
  return WithElementType(
      dtype, [&](auto type) { return ToFloat(static_cast<const decltype(type)*>(data)[index]); });
}
inline void StoreElement(float value, void* data, DType dtype, int64_t index) {
  WithElementType(dtype,
                  [&](auto type) { FromFloat(value, static_cast<decltype(type)*>(data)[index]); });
}

}  // namespace quire
