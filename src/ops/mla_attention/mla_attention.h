// mla_attention: multi-head latent attention over the cache of latents (DeepSeek-AI, 2024,
// "DeepSeek-V2"), with the up-projections absorbed. One row of the cache, latent c [latent_dim] and
// rotated key k [rope_dim], serves all heads: a head's score is q_c . c + q_r . k, where
// q_c = W_uk^T q_nope, and its result is the weighted sum of the c, from which W_uv makes the
// head's output. So keys are whole rows of the cache and values their first latent_dim elements, in
// place.
//
// This is the form for decode and verification rows. Prefill computes less with keys and values
// decompressed by W_uk and W_uv: that is flash_attention with heads of 192 (128 and 64 rotated)
// for queries and keys and of 128 for values. Both give the same up to rounding.
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::mla_attention {

// T query rows, B sequences, Hq heads. latent_dim and latent_dim + rope_dim are multiples of 16 up
// to 576. Row i of a sequence with n rows and m keys has position m - n + i and sees no key after
// it.
struct Args {
  TensorView query;  // f32, f16 or bf16 [T, Hq, latent_dim + rope_dim]: the absorbed part, then
                     // the rotated one; T and H may be strided
  TensorView query_start;  // i32 [B + 1]: sequence b has the rows query_start[b] .. [b + 1], on the
                           // host or at the stream's place; undefined: one row each
  PagedLatentView cache;   // this call's rows are already written
  TensorView page_table;   // i32 [B, max_pages]; pages that no row sees may be anything
  TensorView kv_length;    // i32 [B]: keys of each sequence; 0 gives zeros
  TensorView out;          // of the query's type [T, Hq, latent_dim]; T and H may be strided
  TensorView lse;          // f32 [T, Hq] or undefined: as in flash_attention.h
  float scale = 1.0f;      // of the dot products: 1 / sqrt of the decompressed head's elements
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Exactness and what is read: as in flash_attention.h, but that on other devices than the CPU the
// last bits of a row may depend on the batch, unless the context is batch_invariant. Errors:
// invalid_argument (shapes, types, places, rows or pages that do not exist).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::mla_attention
