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
