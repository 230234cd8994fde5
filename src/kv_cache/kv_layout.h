// KvLayout: the shape of the paged key/value memory, and the only source of its byte counts.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "tensor/dtype.h"

namespace quire {

// Each layer has one K and one V array of shape [num_pages, num_kv_heads, page_size, head_dim]. A
// page id names the same page of every layer's arrays.
struct KvLayout {
  static constexpr int32_t kMaxPageSize = 256;

  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kF16;  // f32, f16 or bf16
  int32_t page_size = 16;     // tokens, a power of two up to kMaxPageSize

  // Errors: invalid_argument, unsupported (dtype); each names the value and the choices.
  Status Validate() const;

  // The functions below REQUIRE a valid layout.

  // Bytes of one page in the K array (or the V array) of one layer.
  int64_t ArrayBytesPerPage() const;
  // Bytes of one page: K and V of all layers.
  int64_t BytesPerPage() const { return 2 * num_layers * ArrayBytesPerPage(); }
  // Bytes of one token: K and V of all layers.
  int64_t BytesPerToken() const { return BytesPerPage() / page_size; }
};

// OK if `page_size` is a power of two from 1 to KvLayout::kMaxPageSize, else invalid_argument.
Status ValidatePageSize(int32_t page_size);

// Whole pages that `bytes` of memory hold; 0 for a negative number. REQUIRES: a valid layout.
int64_t PagesThatFit(const KvLayout& layout, int64_t bytes);

}  // namespace quire
