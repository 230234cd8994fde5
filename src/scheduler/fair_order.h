// FairOrder: waiting requests of many tenants, so that each tenant is served alike.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "scheduler/queue_order.h"

namespace quire {

// A counter of what each tenant has been served; the tenant with the smallest counter is next, of
// its requests the first by rank. A tenant that comes back after it had nothing to ask for is
// lifted to the smallest counter of those that wait: what it did not use is not saved up. So two
// tenants that always wait are served within a bound of each other whatever they send. The
// algorithm is the virtual token counter (Sheng et al., "Fairness in Serving Large Language
// Models", OSDI 2024).
//
// That alone can starve a tenant, if ever new tenants come. So a request that is due goes before
// all others, first by rank.
//
// Push, Remove and First are O(log n), amortized over the charges; Charge is O(1).
class FairOrder final : public QueueOrder {
 public:
  void Push(Request& request) override;
  void Remove(const Request& request) override;
  Request* First(int64_t now_ms) override;
  int32_t size() const override { return size_; }
  void Charge(const Request& request, int64_t cost) override;

  // Tenants that it keeps a counter of. Those that a return would lift are forgotten.
  size_t num_tenants() const { return tenants_.size(); }

 private:
  struct Tenant {
    int64_t served = 0;
    std::map<Rank, Request*> queue;
    int64_t placed = 0;  // what `served` was when it took its place in by_served_
  };
  using Place = std::pair<int64_t, Rank>;  // (served, rank of the first request)

  void Enter(Tenant& tenant);  // takes its places. REQUIRES: its queue is not empty
  void Leave(Tenant& tenant);
  // The smallest counter of a tenant that waits, else of the one that waited last.
  int64_t Floor();
  // Makes the place of the first tenant by_served_ right: counters only grow, so the others' places
  // are at worst too early.
  void Refresh();
  void Forget();

  std::unordered_map<std::string, Tenant> tenants_;
  std::map<Place, Tenant*> by_served_;  // those that wait
  std::map<Rank, Tenant*> by_rank_;     // the same
  int64_t last_floor_ = 0;
  size_t forget_at_ = 64;  // tenants
  int32_t size_ = 0;
};

}  // namespace quire
