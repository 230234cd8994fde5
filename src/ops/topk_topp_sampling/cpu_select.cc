#include "ops/topk_topp_sampling/cpu_select.h"

#include <algorithm>

#include "base/check.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr int64_t kSortAtMost = 32;  // candidates that are sooner sorted than partitioned further

bool Before(const Candidate& a, const Candidate& b) {
  return a.key < b.key;
}

// The median of the first, middle and last key: of distinct keys, at least one is smaller.
uint64_t PivotOf(const Candidate* candidates, int64_t count) {
  const uint64_t a = candidates[0].key;
  const uint64_t b = candidates[count / 2].key;
  const uint64_t c = candidates[count - 1].key;
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

}  // namespace

int64_t SelectByWeight(Candidate* candidates, int64_t count, uint64_t wanted) {
  Candidate* begin = candidates;        // all before it are in the prefix
  Candidate* end = candidates + count;  // none from it on is
  uint64_t sum = 0;                     // the weights before `begin`
  while (end - begin > kSortAtMost) {
    const uint64_t pivot = PivotOf(begin, end - begin);
    uint64_t left = 0;
    Candidate* middle = std::partition(begin, end, [&](const Candidate& candidate) {
      const bool before = candidate.key < pivot;
      left += before ? candidate.weight : 0;
      return before;
    });
    if (sum + left >= wanted) {
      end = middle;
    } else {
      sum += left;
      begin = middle;
    }
  }
  std::sort(begin, end, Before);
  for (; begin != end; ++begin) {
    sum += begin->weight;
    if (sum >= wanted) {
      return begin - candidates + 1;
    }
  }
  QUIRE_CHECK(false) << "weights sum to " << sum << ", " << wanted << " wanted";
  return count;
}

void SelectByCount(Candidate* candidates, int64_t count, int64_t wanted) {
  if (wanted < count) {
    std::nth_element(candidates, candidates + wanted, candidates + count, Before);
  }
}

}  // namespace quire::ops::topk_topp_sampling
