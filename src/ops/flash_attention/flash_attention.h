// flash_attention: softmax(scale Q K^T) V of ragged sequences in one call: prompts, chunks of
// prompts, decode rows and any mix of them, against keys and values that lie one after another or
// in the pages of a cache. The dense matrices of scores and masks never exist (Dao et al., 2022).
#pragma once

#include <optional>

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::flash_attention {

// T query rows, B sequences, Hq query heads that share Hkv kv heads (Hq % Hkv == 0), Dqk and Dv
// multiples of 16 up to 576. Row i of a sequence with n rows and m keys has position m - n + i: the
// last row sees the last key. So a causal row with a negative position sees nothing.
struct Args {
  TensorView query;        // f32, f16 or bf16 [T, Hq, Dqk]; T and H may be strided
  TensorView query_start;  // i32 [B + 1]: sequence b has the rows query_start[b] .. [b + 1]; on the
                           // host, which is read directly, or at the stream's place

  // Either keys and values one after another:
  TensorView key;        // f32, f16 or bf16 [S, Hkv, Dqk]; S and H may be strided
  TensorView value;      // of the key's type [S, Hkv, Dv]; likewise
  TensorView key_start;  // i32 [B + 1]: sequence b has the keys key_start[b] .. [b + 1]
  // or in pages, this call's own included; `key` is then undefined:
  PagedKvView cache;
  TensorView page_table;  // i32 [B, max_pages]; pages that no row sees may be anything
  TensorView kv_length;   // i32 [B]: keys of each sequence

  TensorView out;  // of the query's type [T, Hq, Dv]; T and H may be strided
  // f32 [T, Hq] or undefined: the natural logarithm of the sum of the exponentials of the scores,
  // the sink's included. Minus infinity for a row that sees no key, whose output is 0.
  TensorView lse;

  float scale = 1.0f;         // of the dot products
  bool causal = true;         // no key after the row's position, whatever window_right says
  int32_t window_left = -1;   // a row at p sees the keys p - window_left .. p + window_right;
  int32_t window_right = -1;  // -1: no limit on that side
  // w: the window (w - 1, 0), the row's own key and the w - 1 before it. Given together with a
  // window it must say the same (a causal call has window_right 0 anyway).
  std::optional<int32_t> sliding_window;
  float logit_soft_cap = 0;  // c > 0: scores become c tanh(score / c)
  TensorView sinks;  // f32 [Hq] or undefined: one more logit of each head, in the denominator alone
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// A row's bits depend on its query, its position and the keys and values that it sees, and on
// nothing else: not on the batch, the chunking of a prompt, the number of threads, the page size
// and order, or whether keys lie in pages at all. Keys that no row sees are never read. Rows of no
// sequence stay as they are. Arithmetic is fp32 whatever the types; a cache of f8e4m3 takes the
// scales that the view says.
// Errors: invalid_argument (shapes, types, places, windows that contradict each other, rows, keys
// or pages that do not exist).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::flash_attention
