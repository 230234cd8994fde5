// RankOrder: waiting requests in order of rank.
#pragma once

#include <map>

#include "base/check.h"
#include "scheduler/queue_order.h"

namespace quire {

// Push and Remove are O(log n), First is O(1).
class RankOrder final : public QueueOrder {
 public:
  void Push(Request& request) override {
    const bool added = queue_.emplace(request.rank(), &request).second;
    QUIRE_CHECK(added) << "request " << request.id() << " waits twice";
  }
  void Remove(const Request& request) override {
    QUIRE_CHECK_EQ(queue_.erase(request.rank()), 1u) << "request " << request.id();
  }
  Request* First(int64_t) override { return queue_.empty() ? nullptr : queue_.begin()->second; }
  int32_t size() const override { return static_cast<int32_t>(queue_.size()); }
  void Charge(const Request&, int64_t) override {}

 private:
  std::map<Rank, Request*> queue_;
};

}  // namespace quire
