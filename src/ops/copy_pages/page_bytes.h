// Pages as bytes, for the implementations of copy_pages.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/copy_pages/copy_pages.h"

namespace quire::ops::copy_pages {

// Elements of a page of an array. REQUIRES: at least one axis.
inline int64_t PageElements(const TensorView& pages) {
  int64_t elements = 1;
  for (int axis = 1; axis < pages.rank(); ++axis) {
    elements *= pages.dim(axis);
  }
  return elements;
}

// Valid arguments on the host.
struct PageCopies {
  explicit PageCopies(const Args& args)
      : source(static_cast<const std::byte*>(args.source.data())),
        destination(static_cast<std::byte*>(args.destination.data())),
        pairs(args.pairs.as<const int32_t>()),
        count(args.pairs.dim(0)),
        page_bytes(BytesOf(args.source.dtype(), PageElements(args.source))) {}

  const std::byte* From(int64_t pair) const { return source + pairs[2 * pair] * page_bytes; }
  std::byte* To(int64_t pair) const { return destination + pairs[2 * pair + 1] * page_bytes; }

  const std::byte* source;
  std::byte* destination;
  const int32_t* pairs;
  int64_t count;
  int64_t page_bytes;
};

}  // namespace quire::ops::copy_pages
