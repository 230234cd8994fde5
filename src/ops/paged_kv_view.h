// PagedKvView: one layer's keys and values in pages, as kernels see them. Kernels never see who
// owns a page.
#pragma once

#include <cstddef>
#include <cstdint>

#include "platform/device.h"
#include "tensor/dtype.h"

namespace quire {

// How a page orders the heads and tokens in it.
enum class PageOrder : uint8_t {
  kHnd,  // [num_pages, num_kv_heads, page_size, D]: the tokens of one head are neighbours
  kNhd,  // [num_pages, page_size, num_kv_heads, D]: the heads of one token are neighbours
};

// What the stored numbers of an f8e4m3 cache are to be multiplied with.
enum class KvScaling : uint8_t {
  kNone,          // no scales: not an f8e4m3 cache
  kPerTensor,     // one f32 for all keys, one for all values
  kPerTokenHead,  // f32 [num_pages, num_kv_heads, page_size]: one for each token and kv head
};

// Elements from one page, head and token to the next in an array of pages.
struct PageStrides {
  int64_t page = 0;
  int64_t head = 0;
  int64_t token = 0;

  constexpr int64_t Offset(int64_t at_page, int64_t at_head, int64_t at_token) const {
    return at_page * page + at_head * head + at_token * token;
  }
  bool operator==(const PageStrides&) const = default;
};

// Two arrays, contiguous in the order that `order` says. Token t of a sequence is at offset
// t % page_size of page page_table[t / page_size]; slot = page * page_size + offset.
struct PagedKvView {
  void* k = nullptr;          // D = head_dim
  void* v = nullptr;          // D = value_dim
  DType dtype = DType::kF32;  // f32, f16 or bf16; f8e4m3 with scales
  int64_t num_pages = 0;
  int32_t num_kv_heads = 0;
  int32_t page_size = 0;  // tokens, a power of two
  int32_t head_dim = 0;
  Place place;
  PageOrder order = PageOrder::kHnd;
  int32_t value_head_dim = 0;  // 0: as head_dim
  KvScaling scaling = KvScaling::kNone;
  float* k_scale = nullptr;  // as `scaling` says, at `place`
  float* v_scale = nullptr;

  int32_t value_dim() const { return value_head_dim > 0 ? value_head_dim : head_dim; }
  PageStrides KeyStrides() const { return StridesOf(head_dim); }
  PageStrides ValueStrides() const { return StridesOf(value_dim()); }
  // Of the arrays of scales; all 0 where one scale stands for all.
  PageStrides ScaleStrides() const {
    return scaling == KvScaling::kPerTokenHead
               ? PageStrides{int64_t{num_kv_heads} * page_size, page_size, 1}
               : PageStrides{};
  }

 private:
  PageStrides StridesOf(int64_t dim) const {
    const int64_t page = num_kv_heads * page_size * dim;
    return order == PageOrder::kHnd ? PageStrides{page, page_size * dim, dim}
                                    : PageStrides{page, dim, num_kv_heads * dim};
  }
};

// One layer of a latent cache of multi-head latent attention (DeepSeek-AI, 2024): a row of
// latent_dim + rope_dim elements for each token, shared by all heads; contiguous
// [num_pages, page_size, latent_dim + rope_dim]. Keys are whole rows, values their first
// latent_dim.
struct PagedLatentView {
  void* data = nullptr;
  DType dtype = DType::kF32;  // f32, f16 or bf16; f8e4m3 with a scale
  int64_t num_pages = 0;
  int32_t page_size = 0;  // tokens, a power of two
  int32_t latent_dim = 0;
  int32_t rope_dim = 0;
  Place place;
  float* scale = nullptr;  // f32 [1] at `place`, for f8e4m3 only

  int64_t row_elements() const { return int64_t{latent_dim} + rope_dim; }
};

}  // namespace quire
