#include "kv_cache/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kv_cache/kv_layout.h"

namespace quire {

namespace {

// How much of a page a partial match must save to be worth a page and its copy: a quarter, since a
// token is computed at far more than four times the cost of being copied, and a row of 16 tokens,
// since a smaller saving is lost among the other rows of a step.
int32_t MinPartial(const KvCacheOptions& options) {
  const int32_t tokens = std::max(options.page_size / 4, 16);
  return options.partial_matches && tokens < options.page_size ? tokens : 0;
}

PrefixTree NewTree(const KvCacheOptions& options) {
  return PrefixTree(options.page_size, options.eviction, MinPartial(options));
}

}  // namespace

Status KvCacheOptions::Validate() const {
  QUIRE_RETURN_IF_ERROR(ValidatePageSize(page_size));
  if (num_pages < 1) {
    return InvalidArgument("kv cache of ", num_pages, " pages; it needs at least 1");
  }
  if (max_pinned_pages < 0 || max_pinned_pages >= num_pages) {
    return InvalidArgument("kv cache: ", max_pinned_pages, " of ", num_pages,
                           " pages may be pinned; at least one must be left");
  }
  return OkStatus();
}

KvCache::KvCache(const KvCacheOptions& options, std::vector<std::unique_ptr<PageTier>> tiers)
    : options_(options),
      pool_(options.num_pages),
      tree_(NewTree(options)),
      pins_(options.page_size, options.max_pinned_pages),
      tiers_(std::move(tiers)),
      keys_(tiers_.empty() ? 0 : options.num_pages),
      unstored_(tiers_.size()),
      no_table_(options.page_size) {
  QUIRE_CHECK(options.Validate().ok()) << options.Validate().message();
}

const KvCache::Sequence* KvCache::Find(KvSequenceId id) const {
  if (const Sequence* sequence = sequences_.Find(id)) {
    return sequence;
  }
  violations_.Report("kv sequence ", id, " is used after it was released or was never started");
  return nullptr;
}

const PageTable& KvCache::Table(KvSequenceId id) const {
  const Sequence* sequence = Find(id);
  return sequence == nullptr ? no_table_ : sequence->table;
}

std::span<const int32_t> KvCache::Sharable(std::span<const int32_t> pages) const {
  const auto end = std::ranges::find_if_not(pages, [this](int32_t page) { return MayShare(page); });
  return pages.first(static_cast<size_t>(end - pages.begin()));
}

std::span<const int32_t> KvCache::Matchable(std::span<const int32_t> tokens, uint64_t salt) const {
  return Unquarantined(tokens.first(tokens.size() - (tokens.empty() ? 0 : 1)), salt);
}

std::span<const int32_t> KvCache::Unquarantined(std::span<const int32_t> tokens,
                                                uint64_t salt) const {
  if (pool_.num_quarantined() == 0) {
    return tokens;
  }
  return tokens.first(Sharable(tree_.Find(tokens, salt)).size() * page_size());
}

KvCache::Prefix KvCache::Lookup(std::span<const int32_t> tokens, uint64_t cache_salt) const {
  Prefix prefix;
  const auto add = [this, &prefix](int32_t page, int32_t tokens_in_page) {
    prefix.tokens += tokens_in_page;
    prefix.cached_pages += pool_.StateOf(page) == PagePool::State::kCached ? 1 : 0;
  };
  tokens = Matchable(tokens, cache_salt);
  for (const int32_t page : tree_.Find(tokens, cache_salt)) {
    add(page, page_size());
  }
  if (MinPartial(options_) > 0) {
    const PrefixTree::Partial partial = tree_.FindPartial(tokens, cache_salt);
    if (MayShare(partial.page)) {
      add(partial.page, partial.tokens);
    }
  }
  return prefix;
}

KvCache::Sequence KvCache::Begin(std::span<const int32_t> tokens,
                                 const KvSequenceOptions& options) {
  const PrefixTree::Match match = tree_.FindAndSplit(tokens, options.cache_salt);
  tree_.Lock(match.node);
  Sequence sequence{.options = options,
                    .table = PageTable(page_size()),
                    .node = match.node,
                    .published_pages = static_cast<int32_t>(match.pages.size())};
  sequence.table.AppendShared(match.pages, pool_);
  if (MayShare(match.partial.page)) {
    sequence.table.AppendSharedPart(match.partial.page, match.partial.tokens, pool_);
  }
  return sequence;
}

KvCache::Started KvCache::StartSequence(std::span<const int32_t> tokens,
                                        const KvSequenceOptions& options) {
  Sequence sequence = Begin(Matchable(tokens, options.cache_salt), options);
  const int32_t matched = sequence.table.length();
  totals_.queried_tokens += static_cast<int64_t>(tokens.size());
  totals_.hit_tokens += matched;
  return {sequences_.Add(std::move(sequence)), matched};
}

KvSequenceId KvCache::Fork(KvSequenceId id) {
  const Sequence* sequence = Find(id);
  if (sequence == nullptr) {
    return 0;
  }
  Sequence fork = *sequence;
  fork.table = PageTable(page_size());
  if (!sequence->table.ShareWith(fork.table, pool_)) {
    fork.table.Truncate(0, pool_);
    return 0;
  }
  tree_.Lock(fork.node);
  return sequences_.Add(std::move(fork));
}

void KvCache::LetGo(std::span<const int32_t> evicted) {
  for (const int32_t page : evicted) {
    totals_.evicted_pages += pool_.StateOf(page) == PagePool::State::kCached ? 1 : 0;
    pool_.DropFromTree(page);
  }
}

bool KvCache::MakeFree(int32_t pages) {
  // A page that the tree lets go of need not become free: a copy or, without its path, a sequence
  // may hold it. Cached ones do.
  while (pool_.num_free() < pages) {
    const std::vector<int32_t> evicted = tree_.Evict(pages - pool_.num_free());
    if (evicted.empty() && !WaitForStores()) {
      violations_.Report(pool_.num_cached(), " pages are cached, but none can be evicted");
      return false;
    }
    LetGo(evicted);
  }
  return true;
}

int64_t KvCache::PagesFor(const PageTable& table, int32_t tokens) const {
  return tokens == 0 ? 0 : table.NewPagesFor(tokens) + (table.last_page_is_shared(pool_) ? 1 : 0);
}

bool KvCache::CanTakeBack(const PageTable& table) const {
  return available_pages() == 0 && table.last_page_is_shared(pool_) &&
         pool_.owners(table.pages().back()) == 1;
}

void KvCache::TakeBackLastPage(const PageTable& table) {
  // No sequence is behind the page in the tree, or it would own the page, and no cached page, or
  // there would be one to be had. So it can be evicted, and nothing of value with it.
  while (pool_.in_tree(table.pages().back())) {
    const std::vector<int32_t> evicted = tree_.Evict(1);
    if (evicted.empty()) {
      violations_.Report("page ", table.pages().back(), " cannot be taken back from the tree");
      return;
    }
    LetGo(evicted);
  }
  if (pool_.reads(table.pages().back()) > 0) {
    WaitForStores();
  }
}

void KvCache::CopyLastPage(PageTable& table) {
  PageCopy copy = table.UnshareLastPage(pool_);
  const auto pending = copies_.find(copy.from);
  if (pending != copies_.end()) {
    // What it copies is itself still to be copied there.
    pool_.BeginTransfer(pending->second);
    pool_.EndTransfer(copy.from);
    copy.from = pending->second;
  }
  copies_.emplace(copy.to, copy.from);
}

bool KvCache::Extend(KvSequenceId id, int32_t tokens) {
  Sequence* sequence = Find(id);
  if (sequence == nullptr) {
    return false;
  }
  if (tokens < 0) {
    violations_.Report("kv sequence ", id, " is extended by ", tokens, " tokens");
    return false;
  }
  PageTable& table = sequence->table;
  if (tokens > 0 && tokens <= table.room_in_last_page() && CanTakeBack(table)) {
    TakeBackLastPage(table);
  }
  const int64_t needed = PagesFor(table, tokens);
  if (needed > available_pages() || !MakeFree(static_cast<int32_t>(needed))) {
    return false;
  }
  if (tokens > 0 && table.last_page_is_shared(pool_)) {
    CopyLastPage(table);
  }
  return table.Extend(tokens, pool_);
}

int32_t KvCache::RoomFor(KvSequenceId id, int32_t limit) const {
  const Sequence* sequence = Find(id);
  if (sequence == nullptr) {
    return 0;
  }
  const PageTable& table = sequence->table;
  int64_t new_pages = available_pages();
  if (table.last_page_is_shared(pool_) && !CanTakeBack(table)) {
    --new_pages;  // for the copy
  }
  if (new_pages < 0) {
    return 0;
  }
  const int64_t room = table.room_in_last_page() + new_pages * page_size();
  return static_cast<int32_t>(std::min<int64_t>(room, limit));
}

void KvCache::Publish(KvSequenceId id, std::span<const int32_t> tokens) {
  Sequence* sequence = Find(id);
  if (sequence == nullptr) {
    return;
  }
  const size_t first = sequence->published_pages;
  if (std::cmp_greater(tokens.size(), sequence->table.length()) ||
      tokens.size() / page_size() < first) {
    violations_.Report("kv sequence ", id, " of ", sequence->table.length(), " tokens publishes ",
                       tokens.size(), " after ", first, " pages of ", page_size());
    return;
  }
  if (options_.prefix_caching && tokens.size() / page_size() > first) {
    PublishPages(*sequence, tokens.first(tokens.size() / page_size() * page_size()));
  }
}

void KvCache::PublishPages(Sequence& sequence, std::span<const int32_t> tokens) {
  const size_t first = sequence.published_pages;
  const auto new_tokens = tokens.subspan(first * page_size());
  const auto own =
      std::span(sequence.table.pages()).subspan(first, new_tokens.size() / page_size());
  const std::vector<int32_t> existing =
      tree_.FindFrom(sequence.node, new_tokens, sequence.options.cache_salt);
  size_t pages = Sharable(existing).size();
  for (size_t i = 0; i < pages; ++i) {
    totals_.deduplicated_pages += existing[i] == own[i] ? 0 : 1;  // a fork's are the same
    sequence.table.ReplaceWithShared(static_cast<int32_t>(first + i), existing[i], pool_);
  }
  if (pages == existing.size()) {
    // A page that may not be shared ends what is published.
    while (pages < own.size() && pool_.AddToTree(own[pages])) {
      ++pages;
    }
  }
  NamePages(sequence, first, first + pages, new_tokens);
  const PrefixTree::Inserted inserted =
      tree_.Insert(sequence.node, new_tokens.first(pages * page_size()), own.first(pages),
                   sequence.options.cache_salt);
  sequence.published_pages += static_cast<int32_t>(pages);
  MoveTo(sequence, inserted.node);
}

void KvCache::MoveTo(Sequence& sequence, PrefixTree::NodeId node) {
  if (node != sequence.node) {
    tree_.Lock(node);
    tree_.Unlock(std::exchange(sequence.node, node));
  }
}

void KvCache::Truncate(KvSequenceId id, int32_t length) {
  Sequence* sequence = Find(id);
  if (sequence == nullptr) {
    return;
  }
  if (length < 0 || length > sequence->table.length()) {
    violations_.Report("kv sequence ", id, " of ", sequence->table.length(), " tokens is cut to ",
                       length);
    return;
  }
  const int32_t cut = sequence->published_pages - length / page_size();
  if (cut > 0) {
    MoveTo(*sequence, tree_.AncestorAndSplit(sequence->node, cut));
    sequence->published_pages -= cut;
  }
  sequence->table.Truncate(length, pool_);
}

void KvCache::End(Sequence& sequence) {
  sequence.table.Truncate(0, pool_);
  const auto [salt, priority, ttl] = sequence.options;
  tree_.Unlock(sequence.node, std::max(priority, 0), ExpiryOf(ttl));
}

void KvCache::Release(KvSequenceId id) {
  Sequence* sequence = Find(id);
  if (sequence != nullptr) {
    End(*sequence);
    sequences_.Remove(id);
  }
}

void KvCache::Reset() {
  for (const std::unique_ptr<PageTier>& tier : tiers_) {
    tier->Wait();
    tier->Poll();
    tier->Clear();
  }
  unstored_.assign(tiers_.size(), {});
  arrivals_.clear();
  arriving_.clear();
  pool_ = PagePool(options_.num_pages);
  tree_ = NewTree(options_);
  tree_.AdvanceTo(now_);
  sequences_.Clear();
  pins_ = SessionPins(page_size(), options_.max_pinned_pages);
  copies_.clear();
  violations_ = {};
}

void KvCache::AdvanceTo(int64_t now) {
  now_ = std::max(now_, now);
  pins_.Expire(now_, pool_, tree_);
  tree_.AdvanceTo(now_);
}

int64_t KvCache::ExpiryOf(int64_t ttl) const {
  const bool never = ttl <= 0 || ttl > PageUse::kNever - std::max<int64_t>(now_, 0);
  return never ? PageUse::kNever : now_ + ttl;
}

Result<int32_t> KvCache::Pin(const std::string& session, std::span<const int32_t> tokens,
                             uint64_t cache_salt, int64_t ttl) {
  tokens = Unquarantined(tokens, cache_salt);
  const PrefixTree::Match match = tree_.FindAndSplit(tokens, cache_salt);
  if (std::cmp_greater(match.pages.size(), pins_.RoomFor(session))) {
    return ResourceExhausted("session ", session, " wants to pin ", match.pages.size(),
                             " pages, but of ", options_.max_pinned_pages, " only ",
                             pins_.RoomFor(session), " are left; unpin another session");
  }
  pins_.Pin(session, match, ExpiryOf(ttl), pool_, tree_);
  return static_cast<int32_t>(match.pages.size()) * page_size();
}

bool KvCache::Unpin(const std::string& session) {
  return pins_.Unpin(session, pool_, tree_);
}

std::vector<PageCopy> KvCache::TakeCopies() {
  std::vector<PageCopy> copies;
  for (const auto& [to, from] : copies_) {
    pool_.EndTransfer(from);
    pool_.EndTransfer(to);
    copies.push_back({.from = from, .to = to});
  }
  copies_.clear();
  return copies;
}

Status KvCache::health() const {
  QUIRE_RETURN_IF_ERROR(violations_.status());
  QUIRE_RETURN_IF_ERROR(tree_.violations().status());
  return pool_.violations().status();
}

KvCacheStats KvCache::stats() const {
  KvCacheStats stats = totals_;
  stats.free_pages = pool_.num_free();
  stats.cached_pages = pool_.num_cached();
  stats.owned_pages = pool_.num_owned();
  stats.in_transfer_pages = pool_.num_in_transfer();
  stats.quarantined_pages = pool_.num_quarantined();
  stats.pinned_pages = pins_.num_pages();
  stats.violations = violations_.count() + tree_.violations().count() + pool_.violations().count();
  return stats;
}

}  // namespace quire
