// The rows of a valid problem: [T, D] is [T, 1, D].
#pragma once

#include <cstdint>

#include "ops/rms_norm/rms_norm.h"

namespace quire::ops::rms_norm {

struct RowLayout {
  explicit RowLayout(const TensorView& view)
      : heads(view.rank() == 3 ? view.dim(1) : 1),
        token_stride(view.stride(0)),
        head_stride(view.rank() == 3 ? view.stride(1) : 0) {}

  // Elements from the start of the array to row `row` of the T * H rows.
  int64_t Offset(int64_t row) const {
    return row / heads * token_stride + row % heads * head_stride;
  }

  int64_t heads;
  int64_t token_stride;  // elements
  int64_t head_stride;   // elements
};

inline int64_t RowsOf(const Args& args) {
  return args.x.rank() == 3 ? args.x.dim(0) * args.x.dim(1) : args.x.dim(0);
}

inline int64_t RowElements(const Args& args) {
  return args.x.dim(args.x.rank() - 1);
}

}  // namespace quire::ops::rms_norm
