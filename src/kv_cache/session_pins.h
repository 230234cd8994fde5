// SessionPins: histories that stay, by the name of the session that will come back for them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kv_cache/page_pool.h"
#include "kv_cache/page_table.h"
#include "kv_cache/prefix_tree.h"

namespace quire {

// One pin.
struct PinnedSession {
  std::string session;
  int32_t tokens = 0;
  int64_t expires = 0;  // the tick of KvCache::AdvanceTo
};

// A pin owns the pages of one history and locks its end in the tree, as a sequence does that never
// goes on. One pin a session. Counts pages once for each pin that holds them. One thread at a time.
class SessionPins {
 public:
  SessionPins(int32_t page_size, int32_t max_pages)
      : page_size_(page_size), max_pages_(max_pages) {}

  // Pages that a pin of `session` may have: the bound less what the others hold.
  int32_t RoomFor(const std::string& session) const;
  // Replaces the session's pin, if it has one, by the pages of `match`, until tick `expires`.
  // REQUIRES: no more pages than RoomFor(session).
  void Pin(const std::string& session, const PrefixTree::Match& match, int64_t expires,
           PagePool& pool, PrefixTree& tree);
  // False if the session has no pin.
  bool Unpin(const std::string& session, PagePool& pool, PrefixTree& tree);
  // Ends the pins that expire at `now` or before.
  void Expire(int64_t now, PagePool& pool, PrefixTree& tree);

  int32_t num_pages() const { return num_pages_; }
  // All pins, by session.
  std::vector<PinnedSession> List() const;
  // Calls visit(pages, node) for each pin.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const auto& [session, pin] : pins_) {
      visit(pin.table.pages(), pin.node);
    }
  }

 private:
  struct Pinned {
    PageTable table;
    PrefixTree::NodeId node = PrefixTree::kRoot;
    int64_t expires = 0;
  };

  int32_t page_size_;
  int32_t max_pages_;
  int32_t num_pages_ = 0;
  std::map<std::string, Pinned> pins_;
  std::set<std::pair<int64_t, std::string>> expiring_;
};

}  // namespace quire
