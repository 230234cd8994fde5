// Element types: plain ones and the block-quantized ones of GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace quire {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  // tensor/float8.h
  kI8,
  kU8,
  kI32,
  kI64,
  // Block-quantized: a row is a sequence of blocks (tensor/block_formats.h).
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct DTypeInfo {
  std::string_view name;   // "f32", "q4_1"
  int64_t block_elements;  // elements that are stored together; 1 for plain types
  int64_t block_bytes;     // bytes of such a block
};

const DTypeInfo& InfoOf(DType dtype);

inline bool IsQuantized(DType dtype) {
  return InfoOf(dtype).block_elements > 1;
}

// Bytes of `elements` consecutive elements. REQUIRES: a multiple of the block's elements.
int64_t BytesOf(DType dtype, int64_t elements);

}  // namespace quire
