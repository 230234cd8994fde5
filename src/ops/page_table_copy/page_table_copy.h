// page_table_copy: the page table of a step's sequences, from the cache manager's table of
// requests.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::page_table_copy {

// R requests, B sequences. Lengths are in tokens, all else in pages.
struct Args {
  TensorView request_pages;  // i32 [R, request_max_pages] pages of each request in order; rows may
                             // be strided
  TensorView request_ids;    // i32 [B], 0 to R - 1; may repeat
  TensorView kv_length;      // i32 [B] tokens
  int32_t page_size = 0;     // tokens, a power of two
  TensorView out;            // i32 [B, max_pages], apart from the inputs; rows may be strided
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Row b of out gets the first ceil(kv_length[b] / page_size) pages of its request; the rest of the
// row becomes -1. Pages beyond these are not read.
//
// Errors, before anything is written: invalid_argument (shapes, types, places; where the host can
// read them, an id out of range, a negative length, a length that needs more pages than either
// table is wide: each names the sequence and the value). A kernel whose inputs the host cannot read
// stays inside both tables: it writes -1 where there is no page to copy.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::page_table_copy
