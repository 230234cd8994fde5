#include "kv_cache/eviction_policy.h"

#include <algorithm>

namespace quire {

void PageUse::ExpireAt(int64_t now) {
  if (now >= expires) {
    priority = 0;
    expires = kNever;
  }
}

void PageUse::Merge(const PageUse& other, int64_t now) {
  last_use = std::max(last_use, other.last_use);
  uses += other.uses;
  ExpireAt(now);
  PageUse unexpired = other;
  unexpired.ExpireAt(now);
  if (unexpired.priority > priority) {
    priority = unexpired.priority;
    expires = unexpired.expires;
  } else if (unexpired.priority == priority) {
    expires = std::max(expires, unexpired.expires);
  }
}

std::unique_ptr<EvictionPolicy> MakeEvictionPolicy(EvictionKind kind) {
  switch (kind) {
    case EvictionKind::kLfu: return MakeLfuEviction();
    case EvictionKind::kPriority: return MakePriorityEviction();
    default: return MakeLruEviction();
  }
}

}  // namespace quire
