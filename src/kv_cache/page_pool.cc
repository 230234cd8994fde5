#include "kv_cache/page_pool.h"

namespace quire {

PagePool::PagePool(int32_t num_pages) {
  QUIRE_CHECK_GE(num_pages, 1);
  pages_.resize(num_pages);
  free_.reserve(num_pages);
  for (int32_t page = num_pages - 1; page >= 0; --page) {
    free_.push_back(page);
  }
}

const PagePool::Page& PagePool::At(int32_t page) const {
  QUIRE_CHECK_GE(page, 0);
  QUIRE_CHECK_LT(page, num_pages());
  return pages_[page];
}

int32_t PagePool::Take() {
  QUIRE_CHECK(!free_.empty()) << "take from an exhausted page pool";
  const int32_t page = free_.back();
  free_.pop_back();
  QUIRE_CHECK(StateOf(page) == State::kFree) << "page " << page << " of the free list is in use";
  pages_[page].owners = 1;
  ++num_owned_;
  return page;
}

void PagePool::AddOwner(int32_t page) {
  Page& p = At(page);
  QUIRE_CHECK(p.in_tree) << "page " << page << " is shared but not in the prefix tree";
  if (p.owners == 0) {
    --num_cached_;
    ++num_owned_;
  }
  ++p.owners;
}

void PagePool::DropOwner(int32_t page) {
  Page& p = At(page);
  QUIRE_CHECK_GT(p.owners, 0) << "page " << page << " is given back twice";
  if (--p.owners > 0) {
    return;
  }
  --num_owned_;
  if (p.in_tree) {
    ++num_cached_;
  } else {
    free_.push_back(page);
  }
}

void PagePool::AddToTree(int32_t page) {
  Page& p = At(page);
  QUIRE_CHECK(!p.in_tree) << "page " << page << " is in the prefix tree twice";
  QUIRE_CHECK_EQ(p.owners, 1) << "owners of page " << page << " as it enters the prefix tree";
  p.in_tree = true;
}

void PagePool::EvictFromTree(int32_t page) {
  QUIRE_CHECK(StateOf(page) == State::kCached)
      << "page " << page << " is evicted with " << owners(page) << " owners";
  At(page).in_tree = false;
  --num_cached_;
  free_.push_back(page);
}

PagePool::State PagePool::StateOf(int32_t page) const {
  const Page& p = At(page);
  if (p.owners > 0) {
    return State::kOwned;
  }
  return p.in_tree ? State::kCached : State::kFree;
}

Status PagePool::CheckInvariants() const {
  int32_t owned = 0;
  int32_t cached = 0;
  for (int32_t page = 0; page < num_pages(); ++page) {
    const Page& p = pages_[page];
    if (p.owners < 0 || (p.owners > 1 && !p.in_tree)) {
      return InternalError("page pool: page ", page, " outside of the prefix tree has ", p.owners,
                           " owners");
    }
    owned += StateOf(page) == State::kOwned ? 1 : 0;
    cached += StateOf(page) == State::kCached ? 1 : 0;
  }
  if (owned != num_owned_ || cached != num_cached_ || num_free() + cached + owned != num_pages()) {
    return InternalError("page pool: ", num_free(), " free + ", num_cached_, " cached + ",
                         num_owned_, " owned pages counted, ", cached, " cached and ", owned,
                         " owned found, of ", num_pages());
  }
  std::vector<bool> listed(pages_.size(), false);
  for (const int32_t page : free_) {
    if (StateOf(page) != State::kFree || listed[page]) {
      return InternalError("page pool: page ", page, " is on the free list ",
                           listed[page] ? "twice" : "in use");
    }
    listed[page] = true;
  }
  return OkStatus();
}

}  // namespace quire
