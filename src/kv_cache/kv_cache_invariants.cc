#include "kv_cache/kv_cache.h"

#include <algorithm>

namespace quire {

Status KvCache::CheckSequence(KvSequenceId id, const Sequence& sequence) const {
  const std::vector<int32_t>& pages = sequence.table.pages();
  const int32_t full = sequence.table.length() / page_size();
  const int32_t room = sequence.table.room_in_last_page();
  if (room < 0 || room >= page_size() || sequence.published_pages > full) {
    return InternalError("kv sequence ", id, ": ", sequence.table.length(), " tokens in ",
                         pages.size(), " pages of ", page_size(), ", ", sequence.published_pages,
                         " published");
  }
  // Of the pages behind the published ones, forks and the tree may hold the same: whoever writes
  // makes a copy first.
  const auto published = std::span(pages).first(sequence.published_pages);
  if (!std::ranges::equal(published, tree_.PathPages(sequence.node))) {
    return InternalError("kv sequence ", id,
                         ": its published pages are not those of the prefix tree");
  }
  const auto in_tree = [this](int32_t page) { return pool_.in_tree(page); };
  if (!std::ranges::all_of(published, in_tree)) {
    return InternalError("kv sequence ", id, ": a published page is not in the tree");
  }
  return OkStatus();
}

Status KvCache::CheckInvariants() const {
  QUIRE_RETURN_IF_ERROR(pool_.CheckInvariants());
  QUIRE_RETURN_IF_ERROR(tree_.CheckInvariants());
  std::vector<int32_t> owners(options_.num_pages, 0);
  std::vector<int32_t> transfers(options_.num_pages, 0);
  for (const auto& [to, from] : copies_) {
    ++transfers[to];
    ++transfers[from];
    if (copies_.contains(from)) {
      return InternalError("page ", from, " is copied to ", to, " and from ", copies_.at(from));
    }
  }
  const auto count = [&owners](const Sequence& sequence) {
    for (const int32_t page : sequence.table.pages()) {
      ++owners[page];
    }
  };
  Status tables;
  sequences_.ForEach([&](KvSequenceId id, const Sequence& sequence) {
    tables = tables.ok() ? CheckSequence(id, sequence) : tables;
    count(sequence);
  });
  QUIRE_RETURN_IF_ERROR(tables);
  for (const auto& [key, arrival] : arrivals_) {
    QUIRE_RETURN_IF_ERROR(CheckSequence(0, arrival.sequence));
    count(arrival.sequence);
  }
  for (const auto& [page, key] : arriving_) {
    ++transfers[page];
  }
  Status pins;
  pins_.ForEach([&](const std::vector<int32_t>& pages, PrefixTree::NodeId node) {
    for (const int32_t page : pages) {
      ++owners[page];
    }
    if (pages != tree_.PathPages(node)) {
      pins = InternalError("pinned pages are not those of the prefix tree");
    }
  });
  QUIRE_RETURN_IF_ERROR(pins);
  int32_t reads = 0;
  for (const std::unique_ptr<PageTier>& tier : tiers_) {
    reads += tier->stores_under_way();
  }
  int32_t in_tree = 0;
  for (int32_t page = 0; page < options_.num_pages; ++page) {
    in_tree += pool_.in_tree(page) ? 1 : 0;
    reads -= pool_.reads(page);
    if (transfers[page] != pool_.transfers(page)) {
      return InternalError("page ", page, " counts ", pool_.transfers(page), " transfers, not ",
                           transfers[page]);
    }
    if (owners[page] != pool_.owners(page)) {
      return InternalError("page ", page, " counts ", pool_.owners(page), " owners, but ",
                           owners[page], " sequences hold it");
    }
  }
  if (reads != 0) {
    return InternalError("tiers read ", reads, " pages more than the pool knows");
  }
  if (in_tree != tree_.num_pages()) {
    return InternalError("the pool knows ", in_tree, " pages of the prefix tree, which has ",
                         tree_.num_pages());
  }
  return OkStatus();
}

}  // namespace quire
