// paged_attention: attention of a few rows of each sequence over the paged cache: decode rows, and
// the rows that verify the tokens of a draft. Work is split over the keys and merged (Dao et al.,
// 2023, "Flash-Decoding"), so that one long sequence keeps all threads busy. It gives the bits of
// flash_attention, which takes any number of rows.
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::paged_attention {

// Rows of one sequence in a call.
inline constexpr int32_t kMaxRows = 16;

// T query rows, B sequences, Hq query heads that share Hkv kv heads (Hq % Hkv == 0), D and Dv
// multiples of 16 up to 576. Row i of a sequence with n rows and m keys has position m - n + i and
// sees no key after it.
struct Args {
  TensorView query;  // f32, f16 or bf16 [T, Hq, D]; T and H may be strided
  TensorView
      query_start;        // i32 [B + 1]: sequence b has the rows query_start[b] .. [b + 1], at most
                          // kMaxRows, on the host or at the stream's place; undefined: one row each
  PagedKvView cache;      // this call's keys and values are already written
  TensorView page_table;  // i32 [B, max_pages]; pages that no row sees may be anything
  TensorView kv_length;   // i32 [B]: keys of each sequence; 0 gives zeros
  // Copies of the two in (pinned) host memory, of the same shapes, or undefined: for platforms
  // whose own operator wants them, so that a captured call copies nothing back. The CPU needs none.
  TensorView page_table_host;
  TensorView kv_length_host;
  TensorView out;            // of the query's type [T, Hq, Dv]; T and H may be strided
  TensorView lse;            // f32 [T, Hq] or undefined: as in flash_attention.h
  float scale = 1.0f;        // of the dot products
  int32_t window_left = -1;  // a row at p sees the keys p - window_left .. p; -1 = all before it
  float logit_soft_cap = 0;  // c > 0: scores become c tanh(score / c)
  TensorView sinks;  // f32 [Hq] or undefined: one more logit of each head, in the denominator alone
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Exactness and what is read: as in flash_attention.h. Errors: invalid_argument (shapes, types,
// places, more than kMaxRows rows of a sequence, pages outside the cache).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::paged_attention
