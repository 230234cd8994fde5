#include "kv_cache/eviction_policy.h"

namespace quire {

namespace {

// Least frequently used with dynamic aging (Arlitt et al., "Evaluating Content Management
// Techniques for Web Proxy Caches", 1999): a piece starts from the rank of what went last, so what
// was popular long ago does not stay for ever. Ranks need no update as time passes.
class LfuEviction final : public EvictionPolicy {
 public:
  EvictionRank RankOf(const PageUse& use) const override {
    return {age_ + static_cast<int64_t>(use.uses), use.last_use};
  }
  void Evicted(const EvictionRank& rank) override { age_ = rank.first; }

 private:
  int64_t age_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLfuEviction() {
  return std::make_unique<LfuEviction>();
}

}  // namespace quire
