// KvCache and its tiers: which pages are copied to them, and which come back.
#include <algorithm>

#include "kv_cache/kv_cache.h"

namespace quire {

PageKey KvCache::KeyAt(const Sequence& sequence, size_t pages) const {
  return pages == 0 ? PageKey::OfSalt(sequence.options.cache_salt)
                    : keys_[sequence.table.pages()[pages - 1]];
}

void KvCache::NamePages(const Sequence& sequence, size_t first, size_t last,
                        std::span<const int32_t> tokens) {
  if (tiers_.empty()) {
    return;
  }
  PageKey key = KeyAt(sequence, first);
  for (size_t i = first; i < last; ++i) {
    key = key.Extended(tokens.first(page_size()));
    tokens = tokens.subspan(page_size());
    const int32_t page = sequence.table.pages()[i];
    keys_[page] = key;
    for (std::deque<Unstored>& unstored : unstored_) {
      unstored.push_back({page, key});
      if (std::cmp_greater(unstored.size(), options_.num_pages)) {
        unstored.pop_front();  // the tier is slower than the pages come and go
      }
    }
  }
}

void KvCache::BeginStores(size_t tier) {
  std::deque<Unstored>& unstored = unstored_[tier];
  for (; !unstored.empty() && tiers_[tier]->CanBegin(); unstored.pop_front()) {
    const auto& [page, key] = unstored.front();
    const bool holds = pool_.in_tree(page) && keys_[page] == key && MayShare(page);
    if (holds && tiers_[tier]->Store(key, page)) {
      pool_.BeginRead(page);
    }
  }
}

Status KvCache::EndCopies(PageTier& tier) {
  Status first;
  for (const PageTier::Ended& ended : tier.Poll()) {
    if (ended.load) {
      EndLoad(ended.page, ended.status);
    } else {
      pool_.EndRead(ended.page);
      totals_.stored_pages += ended.status.ok() ? 1 : 0;
    }
    totals_.failed_copies += ended.status.ok() ? 0 : 1;
    first = first.ok() ? ended.status : first;
  }
  return first;
}

bool KvCache::WaitForStores() {
  bool stored = false;
  for (const std::unique_ptr<PageTier>& tier : tiers_) {
    if (tier->stores_under_way() > 0) {
      tier->Wait();
      const Status status = EndCopies(*tier);
      tier_status_ = tier_status_.ok() ? status : tier_status_;
      stored = true;
    }
  }
  return stored;
}

Status KvCache::PollTiers() {
  Status first = std::exchange(tier_status_, {});
  for (size_t i = 0; i < tiers_.size(); ++i) {
    const Status status = EndCopies(*tiers_[i]);
    first = first.ok() ? status : first;
    BeginStores(i);
  }
  return first;
}

Status KvCache::WaitForTiers() {
  for (const std::unique_ptr<PageTier>& tier : tiers_) {
    tier->Wait();
  }
  return PollTiers();
}

std::vector<std::pair<PageTier*, PageKey>> KvCache::FindInTiers(
    PageKey key, std::span<const int32_t> tokens) const {
  std::vector<std::pair<PageTier*, PageKey>> found;
  const size_t size = static_cast<size_t>(page_size());
  for (; tokens.size() >= size; tokens = tokens.subspan(size)) {
    key = key.Extended(tokens.first(size));
    const auto tier = std::ranges::find_if(tiers_, [&](const auto& t) { return t->Has(key); });
    if (tier == tiers_.end()) {
      break;
    }
    found.emplace_back(tier->get(), key);
  }
  return found;
}

int32_t KvCache::Prefetch(std::span<const int32_t> tokens, uint64_t cache_salt, bool begin) {
  if (tiers_.empty()) {
    return 0;
  }
  tokens = Matchable(tokens, cache_salt);
  const std::vector<int32_t> published = tree_.Find(tokens, cache_salt);
  const size_t size = static_cast<size_t>(page_size());
  const auto behind = tokens.subspan(published.size() * size);
  if (behind.size() < size) {
    return 0;
  }
  const PageKey key = published.empty() ? PageKey::OfSalt(cache_salt) : keys_[published.back()];
  const PageKey first = key.Extended(behind.first(size));
  if (const auto known = arrivals_.find(first); known != arrivals_.end()) {
    return static_cast<int32_t>(known->second.arrived.size() * size);
  }
  const std::vector<std::pair<PageTier*, PageKey>> found = FindInTiers(key, behind);
  if (found.empty() || pool_.num_quarantined() > 0) {
    return 0;
  }
  if (!begin) {
    return std::min(static_cast<int32_t>(found.size()), available_pages()) * page_size();
  }
  return BeginLoads(first, found, tokens, published.size(), cache_salt);
}

int32_t KvCache::BeginLoads(const PageKey& first,
                            std::span<const std::pair<PageTier*, PageKey>> found,
                            std::span<const int32_t> tokens, size_t published,
                            uint64_t cache_salt) {
  const size_t size = static_cast<size_t>(page_size());
  Arrival arrival{.sequence = Begin(tokens.first(published * size), {.cache_salt = cache_salt})};
  PageTable& table = arrival.sequence.table;
  const size_t pages = std::min(found.size(), static_cast<size_t>(available_pages()));
  MakeFree(static_cast<int32_t>(pages));
  for (const auto& [tier, key] : found.first(pages)) {
    if (!tier->CanBegin() || !tier->Has(key) || !table.Extend(page_size(), pool_)) {
      break;
    }
    const int32_t page = table.pages().back();
    tier->Load(key, page);
    pool_.BeginTransfer(page);
    arriving_.emplace(page, first);
    arrival.arrived.push_back(false);
  }
  arrival.under_way = static_cast<int32_t>(arrival.arrived.size());
  const auto begun = static_cast<int32_t>(arrival.arrived.size() * size);
  if (begun == 0) {
    End(arrival.sequence);
    return 0;
  }
  const auto whole = tokens.first(static_cast<size_t>(table.length()));
  arrival.tokens.assign(whole.begin(), whole.end());
  arrivals_.emplace(first, std::move(arrival));
  return begun;
}

void KvCache::EndLoad(int32_t page, const Status& status) {
  const auto it = arrivals_.find(arriving_.at(page));
  arriving_.erase(page);
  pool_.EndTransfer(page);
  totals_.loaded_pages += status.ok() ? 1 : 0;
  Arrival& arrival = it->second;
  Sequence& sequence = arrival.sequence;
  const auto published = static_cast<size_t>(sequence.published_pages);
  const auto index = std::ranges::find(sequence.table.pages(), page) -
                     sequence.table.pages().begin() - static_cast<ptrdiff_t>(published);
  arrival.arrived[static_cast<size_t>(index)] = status.ok();
  if (--arrival.under_way > 0) {
    return;
  }
  const auto missing = std::ranges::find(arrival.arrived, false) - arrival.arrived.begin();
  const size_t whole = (published + static_cast<size_t>(missing)) * page_size();
  if (missing > 0) {
    PublishPages(sequence, std::span(arrival.tokens).first(whole));
  }
  End(sequence);
  arrivals_.erase(it);
}

}  // namespace quire
