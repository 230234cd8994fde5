// PagedKvView: one layer's keys and values in pages, as kernels see them. Kernels never see who
// owns a page.
#pragma once

#include <cstddef>
#include <cstdint>

#include "platform/device.h"
#include "tensor/dtype.h"

namespace quire {

// Two arrays of shape [num_pages, num_kv_heads, page_size, head_dim], contiguous: within a page the
// tokens of one head are neighbours. Token t of a sequence is at offset t % page_size of page
// page_table[t / page_size]; slot = page * page_size + offset.
struct PagedKvView {
  void* k = nullptr;
  void* v = nullptr;
  DType dtype = DType::kF32;  // f32, f16 or bf16
  int64_t num_pages = 0;
  int32_t num_kv_heads = 0;
  int32_t page_size = 0;  // tokens, a power of two
  int32_t head_dim = 0;
  Place place;

  // Elements from the start of an array to (page, head, offset 0).
  int64_t ElementOffset(int64_t page, int32_t head) const {
    return (page * num_kv_heads + head) * page_size * head_dim;
  }
};

// Which pages the sequences of a step use, and how many tokens they hold.
struct PagedSequences {
  const int32_t* page_table = nullptr;  // [B, max_pages] physical page ids, row-major
  const int32_t* kv_length = nullptr;   // [B] tokens in the cache, this step's included
  const int32_t* query_start =
      nullptr;                // [B + 1] rows of the step: sequence b has query_start[b] .. [b + 1]
  int32_t num_sequences = 0;  // B
  int32_t max_pages = 0;
};

}  // namespace quire
