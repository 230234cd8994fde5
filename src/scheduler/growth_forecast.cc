#include "scheduler/growth_forecast.h"

#include <algorithm>
#include <cmath>

namespace quire {

namespace {

constexpr double kObservations = 32;  // the share is about the mean of so many

}  // namespace

void GrowthForecast::Observe(int32_t drawn, int32_t allowed) {
  // The first 1 counts as one observation.
  observations_ = std::min(observations_ + 1, kObservations);
  share_ += (static_cast<double>(drawn) / allowed - share_) / observations_;
}

Growth GrowthForecast::Of(const Request& request, int32_t pages_held, int32_t shared_pages) const {
  const int32_t allowed = request.max_generated();
  const int32_t left = allowed - request.num_generated();
  const auto expected = static_cast<int32_t>(std::ceil(share_ * allowed));
  // One that outlives its forecast will go on for a page more.
  const int32_t to_come = std::min(left, std::max(expected - request.num_generated(), page_size_));
  const int32_t known = std::max(CeilDiv(request.num_tokens(), page_size_), pages_held);
  // The last token drawn is never written.
  const int32_t last = std::max(CeilDiv(request.num_tokens() + to_come - 1, page_size_), known);
  return {.to_come = to_come,
          .known_pages = known - pages_held,
          .more_pages = last - known,
          .own_pages = pages_held - shared_pages};
}

// At the moment when request i ends, those before it have drawn as many tokens as it has, and those
// after it have ended. Among the former, those that come to whole pages more than i's have taken
// c = ceil(to_come / page size); those of the same c have taken c or c - 1, which is all they take.
int64_t GrowthForecast::PeakPages(std::span<const Growth> growths) const {
  int64_t given_back = 0;
  for (const Growth& growth : growths) {
    given_back += growth.own_pages;
  }
  int64_t peak = 0;
  int64_t known = 0;
  int64_t longer = 0;       // requests of a larger c
  int64_t alike = 0;        // of the same c so far
  int64_t alike_pages = 0;  // what these take
  int32_t pages = -1;       // c
  for (const Growth& growth : growths) {
    const int32_t c = CeilDiv(growth.to_come, page_size_);
    if (c != pages) {
      longer += alike;
      alike = 0;
      alike_pages = 0;
      pages = c;
    }
    ++alike;
    alike_pages += growth.more_pages;
    known += growth.known_pages;
    given_back -= growth.own_pages;
    peak = std::max(peak, known + longer * c + alike_pages - given_back);
  }
  return peak;
}

}  // namespace quire
