// GrowthForecast: how many pages the running requests are going to hold at once, so that no more
// start than there is memory for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/request.h"

namespace quire {

// Pages of `by` tokens that `value` tokens take.
inline int32_t CeilDiv(int32_t value, int32_t by) {
  return (value + by - 1) / by;
}

// What a request is going to take and give, forecast.
struct Growth {
  int32_t to_come = 0;      // tokens that it will draw
  int32_t known_pages = 0;  // pages that it lacks for the tokens that it has
  int32_t more_pages = 0;   // pages that it takes for those to come
  int32_t own_pages = 0;    // pages that it holds and that are free when it ends
};

// Requests ask for more tokens than they draw: most end by a stop token. This learns what share of
// the tokens allowed is drawn, at first 1, then the mean of those that ended lately, and assumes it
// of those that run. The
// idea of looking at the peak, where some have grown while others have ended, is that of "Past-
// Future" (Gong et al., 2025).
class GrowthForecast {
 public:
  explicit GrowthForecast(int32_t page_size) : page_size_(page_size) {}

  // A request that could have drawn `allowed` tokens has ended after `drawn`.
  void Observe(int32_t drawn, int32_t allowed);

  // Of a request that holds `pages_held` pages, `shared_pages` of them also held by others.
  Growth Of(const Request& request, int32_t pages_held, int32_t shared_pages) const;

  // The most pages that all of `growths` together will hold beyond those that they hold now.
  // REQUIRES: to_come descends. O(n).
  int64_t PeakPages(std::span<const Growth> growths) const;

  double share() const { return share_; }

 private:
  int32_t page_size_;
  double observations_ = 1;
  double share_ = 1.0;
};

}  // namespace quire
