// Problem: what every attention operator asks of the kernels and of the reference, with the shapes
// checked and the differences between the operators gone: query rows of sequences against rows of
// keys and values that lie one after another or in pages.
//
// flash_attention, paged_attention and mla_attention differ in their contracts only. Each checks
// its arguments (attention_arguments.h), translates them to a Problem (its <op>_problem.h) and runs
// it through attention_reference.h or, on the CPU, cpu_attention.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::attention {

// Head dimensions that the kernels take: multiples of kDimMultiple up to kMaxDim.
inline constexpr int kDimMultiple = 16;
inline constexpr int kMaxDim = 576;

// Of implementations that take every problem, for docs/operators.md.
inline constexpr std::string_view kTypes = "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3";

// Heads of rows: element 0 of a head is at data + row * row_stride + head * head_stride.
struct HeadRows {
  void* data = nullptr;
  DType dtype = DType::kF32;  // f32, f16 or bf16
  int64_t row_stride = 0;     // elements
  int64_t head_stride = 0;
};

// Keys, or values: element 0 of a token is at data + strides.Offset(page, kv head, offset). Tokens
// that lie one after another are one page without an end.
struct KvRows {
  const void* data = nullptr;
  PageStrides strides;
  const float* scale = nullptr;  // f8e4m3: element x stands for x * scale[scale_strides.Offset(..)]
};

// The keys [begin, end) of a sequence; none where begin = end.
struct KeySpan {
  int64_t begin = 0;
  int64_t end = 0;
};

struct Problem {
  HeadRows query;                // Dk elements a head
  HeadRows out;                  // Dv elements a head
  float* lse = nullptr;          // [T, Hq] or null
  const float* sinks = nullptr;  // [Hq] or null
  int q_heads = 0;
  int kv_heads = 0;
  int key_dim = 0;    // Dk
  int value_dim = 0;  // Dv

  DType kv_dtype = DType::kF32;  // f32, f16, bf16 or f8e4m3
  KvRows key;
  KvRows value;
  PageStrides scale_strides;

  int32_t num_sequences = 0;             // B
  int64_t num_rows = 0;                  // T
  int64_t num_keys = 0;                  // S, all sequences together; of keys one after another
  const int32_t* query_start = nullptr;  // [B + 1]; null: sequence b has the row b alone
  // Tokens one after another: sequence b has key_start[b] .. key_start[b + 1]; else null.
  const int32_t* key_start = nullptr;
  // Tokens in pages: sequence b has kv_length[b].
  const int32_t* kv_length = nullptr;
  const int32_t* page_table = nullptr;  // [B, max_pages]
  int32_t max_pages = 0;
  int32_t page_size = 1;  // a power of two
  int64_t num_pages = 0;

  float scale = 1.0f;
  float logit_soft_cap = 0.0f;  // 0: none
  int64_t window_left = -1;     // a row at p sees no key before p - window_left; -1: no limit
  int64_t window_right = -1;    // and none after p + window_right; causal is 0

  // constexpr: kernels call these on any device.
  constexpr bool paged() const { return key_start == nullptr; }
  constexpr int group() const { return q_heads / kv_heads; }  // q heads that share a kv head
  constexpr int64_t FirstRow(int32_t b) const {
    return query_start == nullptr ? b : query_start[b];
  }
  constexpr int64_t Rows(int32_t b) const {
    return query_start == nullptr ? 1 : int64_t{query_start[b + 1]} - query_start[b];
  }
  constexpr int64_t Keys(int32_t b) const {
    return paged() ? kv_length[b] : int64_t{key_start[b + 1]} - key_start[b];
  }
  // Of the first row of sequence b: negative where it has more rows than keys.
  constexpr int64_t FirstPosition(int32_t b) const { return Keys(b) - Rows(b); }

  // What a row at `position` sees of `keys` keys. Both ends grow with the position.
  constexpr KeySpan VisibleKeys(int64_t position, int64_t keys) const {
    const int64_t begin = window_left < 0 ? 0 : std::max<int64_t>(position - window_left, 0);
    const int64_t end = window_right < 0 ? keys : std::min(position + window_right + 1, keys);
    return begin < end ? KeySpan{begin, end} : KeySpan{};
  }
};

}  // namespace quire::ops::attention
