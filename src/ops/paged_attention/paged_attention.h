// paged_attention: causal attention of a step's query rows over the paged cache: decode rows,
// prefill chunks and any mix of them, in one ragged call.
//
// Work is split over (sequence, kv head, key range); key ranges are fixed by absolute position
// (multiples of kKeyRange), partial results are merged in ascending order by their log-sum-exp
// (Flash-Decoding; Dao et al., 2023). Within a range keys are visited in tiles fixed by absolute
// position with an online softmax (Milakov & Gimelshein, 2018). So a row's bits depend on its
// query, its position and the keys before it alone: not on the batch, the chunking of the prefill,
// the page size, the pages' places, or the number of threads.
#pragma once

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "tensor/tensor_view.h"

namespace quire::ops::paged_attention {

// Keys per unit of work, aligned to absolute positions.
inline constexpr int kKeyRange = 256;

struct Args {
  TensorView query;  // f32 [T, Hq, D]; T and H may be strided; Hq % Hkv == 0, D % 16 == 0, D <= 512
  PagedKvView cache;         // this step's keys and values are already written
  PagedSequences sequences;  // row i of sequence b has position kv_length[b] - (rows of b) + i
  TensorView out;            // f32 [T, Hq, D] contiguous
  float scale = 1.0f;        // of the dot products
  int32_t window_left = -1;  // a query at p sees keys p - window_left .. p; -1 = all before it
  float logit_soft_cap = 0;  // c > 0: scores become c * tanh(score / c)
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Slots past a sequence's length are never read, whatever they hold. Rows of no sequence stay as
// they are. Errors: invalid_argument (shapes, types, places, more rows than kv_length, page ids
// outside the cache).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::paged_attention
