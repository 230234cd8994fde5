// copy_pages: whole pages from one array of pages to another, or to other pages of the same array.
//
// A page is bytes: keys, values, latents and scales of any type move alike, one call for each array
// of the cache.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::copy_pages {

struct Args {
  TensorView source;       // [source_pages, ...] contiguous, of any type
  TensorView destination;  // [destination_pages, ...] contiguous, of the same type and page shape;
                           // may be the array of source, but does not overlap it otherwise
  TensorView pairs;        // i32 [N, 2] contiguous: source page, destination page
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// pairs lies at the stream's place; source and destination do too, or in host memory that the
// stream's device can reach. One source page may go to several destinations. Destination pages
// differ from each other and, within one array, from all source pages, so that the order of the
// copies does not matter.
//
// Errors, before anything is written: invalid_argument (shapes, types, places, overlapping arrays;
// where the host can read the pairs, a page out of range or a destination that breaks the rule
// above: these name the pair). A kernel whose pairs the host cannot read skips those out of range.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::copy_pages
