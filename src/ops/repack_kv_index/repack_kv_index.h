// repack_kv_index: the pages of a step's sequences in compressed rows (CSR), for attention backends
// that take page tables so.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::repack_kv_index {

// R requests, B sequences. kv_length and last_page_len are in tokens, all else in pages.
struct Args {
  TensorView request_pages;  // i32 [R, request_max_pages] pages of each request in order; rows may
                             // be strided
  TensorView request_ids;    // i32 [B], 0 to R - 1; may repeat
  TensorView kv_length;      // i32 [B] tokens
  int32_t page_size = 0;     // tokens, a power of two
  // The outputs, apart from the inputs and from each other.
  TensorView indptr;         // i32 [B + 1]: sequence b has indices indptr[b] .. indptr[b + 1]
  TensorView indices;        // i32 [capacity]
  TensorView last_page_len;  // i32 [B]: tokens in the last page, 1 to page_size; 0 for no tokens
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// indptr[0] = 0; sequence b adds ceil(kv_length[b] / page_size) pages. Only the first indptr[B]
// entries of indices are written.
//
// Errors, before anything is written: invalid_argument (shapes, types, places; where the host can
// read them, an id out of range, a negative length, a length that needs more pages than a row of
// the table has, and more pages in all than indices has room for: this says how many there are). A
// kernel whose inputs the host cannot read stays inside all arrays: indptr tells what was needed.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::repack_kv_index
