// What can be wrong with the logits of a row.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace quire::ops::topk_topp_sampling {

// Why a row cannot be sampled.
enum class RowFault : uint8_t {
  kNone,
  kNan,       // a logit is NaN
  kInfinite,  // the largest logit is +infinity
  kMasked,    // every logit is -infinity
};

// The error that names the row of `op`, or OK.
Status FaultStatus(const char* op, RowFault fault, int64_t row);

}  // namespace quire::ops::topk_topp_sampling
