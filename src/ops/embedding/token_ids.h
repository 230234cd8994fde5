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
  }

  int64_t size() const { return size_; }
  int64_t operator[](int64_t t) const { return wide_ != nullptr ? wide_[t] : narrow_[t]; }

 private:
  int64_t size_;
  const int32_t* narrow_;
  const int64_t* wide_ = nullptr;
};

}  // namespace quire::ops::embedding
