#include "kv_cache/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kv_cache/kv_layout.h"

namespace quire {

Status KvCacheOptions::Validate() const {
  QUIRE_RETURN_IF_ERROR(ValidatePageSize(page_size));
  if (num_pages < 1) {
    return InvalidArgument("kv cache of ", num_pages, " pages; it needs at least 1");
  }
  return OkStatus();
}

KvCache::KvCache(const KvCacheOptions& options)
    : options_(options), pool_(options.num_pages), tree_(options.page_size) {
  QUIRE_CHECK(options.Validate().ok()) << options.Validate().message();
}

const KvCache::Sequence& KvCache::At(KvSequenceId id) const {
  const auto it = sequences_.find(id);
  QUIRE_CHECK(it != sequences_.end()) << "kv sequence " << id << " was released or never started";
  return it->second;
}

KvCache::Prefix KvCache::Lookup(std::span<const int32_t> tokens) const {
  QUIRE_CHECK(!tokens.empty());
  Prefix prefix;
  for (const int32_t page : tree_.Find(tokens.first(tokens.size() - 1))) {
    prefix.tokens += page_size();
    prefix.cached_pages += pool_.owners(page) == 0 ? 1 : 0;
  }
  return prefix;
}

KvCache::Started KvCache::StartSequence(std::span<const int32_t> tokens) {
  QUIRE_CHECK(!tokens.empty());
  PrefixTree::Match match = tree_.FindAndSplit(tokens.first(tokens.size() - 1));
  tree_.Lock(match.node);
  Sequence sequence{.table = PageTable(page_size()),
                    .node = match.node,
                    .published_pages = static_cast<int32_t>(match.pages.size())};
  sequence.table.AppendShared(match.pages, pool_);
  const Started started{next_id_++, sequence.table.length()};
  totals_.queried_tokens += static_cast<int64_t>(tokens.size());
  totals_.hit_tokens += started.matched;
  sequences_.emplace(started.id, std::move(sequence));
  return started;
}

bool KvCache::Extend(KvSequenceId id, int32_t tokens) {
  PageTable& table = At(id).table;
  const int32_t needed = table.NewPagesFor(tokens);
  if (needed > available_pages()) {
    return false;
  }
  const int32_t missing = std::max(0, needed - pool_.num_free());
  // Every cached page can be evicted: an owner of a later page of its path would own it too.
  const std::vector<int32_t> evicted = tree_.Evict(missing);
  QUIRE_CHECK_EQ(static_cast<int32_t>(evicted.size()), missing);
  for (const int32_t page : evicted) {
    pool_.EvictFromTree(page);
  }
  totals_.evicted_pages += missing;
  table.Extend(tokens, pool_);
  return true;
}

int32_t KvCache::RoomFor(KvSequenceId id, int32_t limit) const {
  const int64_t room = Table(id).room_in_last_page() + int64_t{available_pages()} * page_size();
  return static_cast<int32_t>(std::min<int64_t>(room, limit));
}

void KvCache::Publish(KvSequenceId id, std::span<const int32_t> tokens) {
  Sequence& sequence = At(id);
  QUIRE_CHECK_LE(static_cast<int64_t>(tokens.size()), sequence.table.length());
  const int32_t first = sequence.published_pages;
  const int32_t pages = static_cast<int32_t>(tokens.size()) / page_size();
  QUIRE_CHECK_GE(pages, first) << "pages of kv sequence " << id << " are unpublished";
  if (!options_.prefix_caching || pages == first) {
    return;
  }
  const auto new_tokens =
      tokens.subspan(size_t(first) * page_size(), size_t(pages - first) * page_size());
  const auto new_pages = std::span(sequence.table.pages()).subspan(first, pages - first);
  const PrefixTree::Inserted inserted = tree_.Insert(sequence.node, new_tokens, new_pages);
  const int32_t existing = static_cast<int32_t>(inserted.existing.size());
  for (int32_t i = 0; i < existing; ++i) {
    sequence.table.ReplaceWithShared(first + i, inserted.existing[i], pool_);
  }
  for (int32_t i = existing; i < pages - first; ++i) {
    pool_.AddToTree(sequence.table.pages()[first + i]);
  }
  totals_.deduplicated_pages += existing;
  sequence.published_pages = pages;
  if (inserted.node != sequence.node) {
    tree_.Lock(inserted.node);
    tree_.Unlock(std::exchange(sequence.node, inserted.node));
  }
}

void KvCache::Truncate(KvSequenceId id, int32_t length) {
  Sequence& sequence = At(id);
  QUIRE_CHECK_GE(length, sequence.published_pages * page_size()) << "a published page would be cut";
  sequence.table.Truncate(length, pool_);
}

void KvCache::Release(KvSequenceId id) {
  Sequence& sequence = At(id);
  sequence.table.Truncate(0, pool_);
  tree_.Unlock(sequence.node);
  sequences_.erase(id);
}

KvCacheStats KvCache::stats() const {
  KvCacheStats stats = totals_;
  stats.free_pages = pool_.num_free();
  stats.cached_pages = pool_.num_cached();
  stats.owned_pages = pool_.num_owned();
  return stats;
}

Status KvCache::CheckSequence(KvSequenceId id, const Sequence& sequence) const {
  const std::vector<int32_t>& pages = sequence.table.pages();
  const int32_t full = sequence.table.length() / page_size();
  const int32_t room = sequence.table.room_in_last_page();
  if (room < 0 || room >= page_size() || sequence.published_pages > full) {
    return InternalError("kv sequence ", id, ": ", sequence.table.length(), " tokens in ",
                         pages.size(), " pages of ", page_size(), ", ", sequence.published_pages,
                         " published");
  }
  const auto published = std::span(pages).first(sequence.published_pages);
  if (!std::ranges::equal(published, tree_.PathPages(sequence.node))) {
    return InternalError("kv sequence ", id,
                         ": its published pages are not those of the prefix tree");
  }
  for (size_t i = 0; i < pages.size(); ++i) {
    const bool shared = i < published.size();
    if (pool_.in_tree(pages[i]) != shared || (!shared && pool_.owners(pages[i]) != 1)) {
      return InternalError("kv sequence ", id, ": page ", pages[i], " at ", i, " is ",
                           shared ? "published but not in the tree" : "writable but shared");
    }
  }
  return OkStatus();
}

Status KvCache::CheckInvariants() const {
  QUIRE_RETURN_IF_ERROR(pool_.CheckInvariants());
  QUIRE_RETURN_IF_ERROR(tree_.CheckInvariants());
  std::vector<int32_t> owners(options_.num_pages, 0);
  for (const auto& [id, sequence] : sequences_) {
    QUIRE_RETURN_IF_ERROR(CheckSequence(id, sequence));
    for (const int32_t page : sequence.table.pages()) {
      ++owners[page];
    }
  }
  int32_t in_tree = 0;
  for (int32_t page = 0; page < options_.num_pages; ++page) {
    in_tree += pool_.in_tree(page) ? 1 : 0;
    if (owners[page] != pool_.owners(page)) {
      return InternalError("page ", page, " counts ", pool_.owners(page), " owners, but ",
                           owners[page], " sequences hold it");
    }
  }
  if (in_tree != tree_.num_pages()) {
    return InternalError("the pool knows ", in_tree, " pages of the prefix tree, which has ",
                         tree_.num_pages());
  }
  return OkStatus();
}

}  // namespace quire
