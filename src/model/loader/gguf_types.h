// The numbers that GGUF files use for the types of metadata values and tensors.
//
// Source: the GGUF specification (ggml project), version 3.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace quire {

enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// "u8", "string", ...; "unknown" for a number that is no value type.
std::string_view GgufValueTypeName(uint32_t type);

// Bytes of one value of a type with fixed size; 0 for strings, arrays and unknown numbers.
uint64_t GgufValueTypeBytes(uint32_t type);

// The element type of tensor type number `type`; nullopt if Quire has none.
std::optional<DType> DTypeOfGguf(uint32_t type);

// The name that the ggml project gives to tensor type number `type`, e.g. "IQ4_NL"; "unknown" if it
// has none.
std::string_view GgufTensorTypeName(uint32_t type);

}  // namespace quire
