#include "kv_cache/eviction_policy.h"

namespace quire {

namespace {

class LruEviction final : public EvictionPolicy {
 public:
  EvictionRank RankOf(const PageUse& use) const override { return {0, use.last_use}; }
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLruEviction() {
  return std::make_unique<LruEviction>();
}

}  // namespace quire
