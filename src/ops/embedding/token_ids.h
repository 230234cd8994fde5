// The token ids of a problem, whichever way they were given.
#pragma once

#include <cstdint>

#include "ops/embedding/embedding.h"
#include "ops/row_views.h"

namespace quire::ops::embedding {

class TokenIds {
 public:
  explicit TokenIds(const Args& args)
      : size_(IsGiven(args.ids) ? args.ids.dim(0) : static_cast<int64_t>(args.tokens.size())),
        narrow_(args.tokens.data()) {
    if (IsGiven(args.ids)) {
      narrow_ = args.ids.dtype() == DType::kI32 ? args.ids.as<int32_t>() : nullptr;
      wide_ = args.ids.dtype() == DType::kI64 ? args.ids.as<int64_t>() : nullptr;
    }
    if (IsGiven(args.drawn)) {
      drawn_ = args.drawn.as<int32_t>();
      num_drawn_ = args.drawn.dim(0);
    }
  }

  int64_t size() const { return size_; }
  // An id that names none of the tokens drawn stays negative.
  int64_t operator[](int64_t t) const {
    const int64_t id = wide_ != nullptr ? wide_[t] : narrow_[t];
    return id < 0 && -1 - id < num_drawn_ ? drawn_[-1 - id] : id;
  }

 private:
  int64_t size_;
  const int32_t* narrow_;
  const int64_t* wide_ = nullptr;
  const int32_t* drawn_ = nullptr;
  int64_t num_drawn_ = 0;
};

}  // namespace quire::ops::embedding
