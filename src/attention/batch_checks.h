// What every backend checks of a batch before it plans.
#pragma once

#include "base/status.h"
#include "ops/batch.h"

namespace quire {

// Whether the arrays of `batch` agree with each other. O(rows). Errors: invalid_argument.
Status CheckBatch(const Batch& batch);

}  // namespace quire
