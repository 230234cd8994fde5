#include "kv_cache/eviction_policy.h"

namespace quire {

namespace {

// The prefix tree sees to it that a priority that has expired counts as 0.
class PriorityEviction final : public EvictionPolicy {
 public:
  EvictionRank RankOf(const PageUse& use) const override { return {use.priority, use.last_use}; }
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakePriorityEviction() {
  return std::make_unique<PriorityEviction>();
}

}  // namespace quire
