#include "scheduler/queue_order.h"

#include <algorithm>

#include "scheduler/fair_order.h"
#include "scheduler/rank_order.h"

namespace quire {

Rank RankOf(QueuePolicy policy, const RequestSpec& spec, int64_t now_ms, uint64_t arrival) {
  if (policy == QueuePolicy::kArrival) {
    return {.due_ms = 0, .arrival = arrival};
  }
  int64_t patience_ms = (spec.priority - kHighestPriority) * kAgingMs;
  if (spec.deadline_ms > 0) {
    patience_ms = std::min<int64_t>(patience_ms, spec.deadline_ms);
  }
  return {.due_ms = now_ms + patience_ms, .arrival = arrival};
}

std::unique_ptr<QueueOrder> MakeQueueOrder(QueuePolicy policy) {
  if (policy == QueuePolicy::kFair) {
    return std::make_unique<FairOrder>();
  }
  return std::make_unique<RankOrder>();
}

}  // namespace quire
