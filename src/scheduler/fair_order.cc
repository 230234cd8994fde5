#include "scheduler/fair_order.h"

#include <algorithm>

#include "base/check.h"

namespace quire {

void FairOrder::Push(Request& request) {
  Forget();
  Tenant& tenant = tenants_[request.tenant()];
  if (tenant.queue.empty()) {
    tenant.served = std::max(tenant.served, Floor());
  } else {
    Leave(tenant);
  }
  const bool added = tenant.queue.emplace(request.rank(), &request).second;
  QUIRE_CHECK(added) << "request " << request.id() << " waits twice";
  Enter(tenant);
  ++size_;
}

void FairOrder::Remove(const Request& request) {
  last_floor_ = Floor();
  const auto found = tenants_.find(request.tenant());
  QUIRE_CHECK(found != tenants_.end() && found->second.queue.contains(request.rank()))
      << "request " << request.id() << " does not wait";
  Tenant& tenant = found->second;
  Leave(tenant);
  tenant.queue.erase(request.rank());
  if (!tenant.queue.empty()) {
    Enter(tenant);
  }
  --size_;
}

Request* FairOrder::First(int64_t now_ms) {
  if (by_served_.empty()) {
    return nullptr;
  }
  const auto& [rank, tenant] = *by_rank_.begin();
  if (rank.due_ms <= now_ms) {
    return tenant->queue.begin()->second;
  }
  Refresh();
  return by_served_.begin()->second->queue.begin()->second;
}

void FairOrder::Charge(const Request& request, int64_t cost) {
  const auto [found, is_new] = tenants_.try_emplace(request.tenant());
  if (is_new) {
    found->second.served = Floor();
  }
  found->second.served += cost;
}

void FairOrder::Enter(Tenant& tenant) {
  const Rank first = tenant.queue.begin()->first;
  tenant.placed = tenant.served;
  by_served_.emplace(Place(tenant.placed, first), &tenant);
  by_rank_.emplace(first, &tenant);
}

void FairOrder::Leave(Tenant& tenant) {
  const Rank first = tenant.queue.begin()->first;
  by_served_.erase(Place(tenant.placed, first));
  by_rank_.erase(first);
}

int64_t FairOrder::Floor() {
  if (by_served_.empty()) {
    return last_floor_;
  }
  Refresh();
  return by_served_.begin()->second->served;
}

void FairOrder::Refresh() {
  for (Tenant* first = by_served_.begin()->second; first->placed < first->served;
       first = by_served_.begin()->second) {
    Leave(*first);
    Enter(*first);
  }
}

void FairOrder::Forget() {
  if (tenants_.size() < forget_at_) {
    return;
  }
  const int64_t floor = Floor();
  std::erase_if(tenants_, [floor](const auto& entry) {
    return entry.second.queue.empty() && entry.second.served <= floor;
  });
  forget_at_ = std::max<size_t>(64, 2 * tenants_.size());
}

}  // namespace quire
