// Selection among candidates without sorting them all.
#pragma once

#include <cstdint>

#include "ops/topk_topp_sampling/cpu_scan.h"

namespace quire::ops::topk_topp_sampling {

// Reorders `candidates` so that its first elements are the shortest prefix of the token order whose
// weights sum to at least `wanted`, the last of that prefix at its end; returns its length. A
// quickselect by weight: expected time linear in `count`. REQUIRES: weights are set, distinct keys,
// 1 <= wanted <= their sum.
int64_t SelectByWeight(Candidate* candidates, int64_t count, uint64_t wanted);

// Reorders `candidates` so that its first `wanted` elements come first in the token order.
// REQUIRES: distinct keys, 0 <= wanted <= count.
void SelectByCount(Candidate* candidates, int64_t count, int64_t wanted);

}  // namespace quire::ops::topk_topp_sampling
