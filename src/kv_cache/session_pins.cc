#include "kv_cache/session_pins.h"

namespace quire {

int32_t SessionPins::RoomFor(const std::string& session) const {
  const auto it = pins_.find(session);
  const size_t own = it == pins_.end() ? 0 : it->second.table.pages().size();
  return max_pages_ - num_pages_ + static_cast<int32_t>(own);
}

void SessionPins::Pin(const std::string& session, const PrefixTree::Match& match, int64_t expires,
                      PagePool& pool, PrefixTree& tree) {
  Pinned pin{.table = PageTable(page_size_), .node = match.node, .expires = expires};
  pin.table.AppendShared(match.pages, pool);
  tree.Lock(match.node);
  Unpin(session, pool, tree);
  num_pages_ += static_cast<int32_t>(pin.table.pages().size());
  expiring_.emplace(expires, session);
  pins_.emplace(session, std::move(pin));
}

bool SessionPins::Unpin(const std::string& session, PagePool& pool, PrefixTree& tree) {
  const auto it = pins_.find(session);
  if (it == pins_.end()) {
    return false;
  }
  Pinned& pin = it->second;
  num_pages_ -= static_cast<int32_t>(pin.table.pages().size());
  pin.table.Truncate(0, pool);
  tree.Unlock(pin.node);
  expiring_.erase({pin.expires, session});
  pins_.erase(it);
  return true;
}

std::vector<PinnedSession> SessionPins::List() const {
  std::vector<PinnedSession> all;
  for (const auto& [session, pin] : pins_) {
    all.push_back({session, pin.table.length(), pin.expires});
  }
  return all;
}

void SessionPins::Expire(int64_t now, PagePool& pool, PrefixTree& tree) {
  while (!expiring_.empty() && expiring_.begin()->first <= now) {
    const std::string session = expiring_.begin()->second;
    Unpin(session, pool, tree);
  }
}

}  // namespace quire
