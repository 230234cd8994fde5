#include "kv_cache/page_pool.h"

#include "base/check.h"

namespace quire {

PagePool::PagePool(int32_t num_pages) {
  QUIRE_CHECK_GE(num_pages, 1);
  pages_.resize(num_pages);
  free_.reserve(num_pages);
  for (int32_t page = num_pages - 1; page >= 0; --page) {
    List(page);
  }
  counts_[static_cast<size_t>(State::kFree)] = num_pages;
}

PagePool::State PagePool::StateOf(const Page& page) {
  if (page.quarantined) {
    return State::kQuarantined;
  }
  if (page.owners > 0) {
    return State::kOwned;
  }
  if (page.transfers > 0 || (page.reads > 0 && !page.in_tree)) {
    return State::kInTransfer;
  }
  return page.in_tree ? State::kCached : State::kFree;
}

PagePool::State PagePool::StateOf(int32_t page) const {
  return Has(page) ? StateOf(pages_[page]) : State::kQuarantined;
}

template <typename Change>
void PagePool::Update(int32_t page, Change change) {
  const State before = StateOf(page);
  change(pages_[page]);
  const State after = StateOf(page);
  if (before == after) {
    return;
  }
  --counts_[static_cast<size_t>(before)];
  ++counts_[static_cast<size_t>(after)];
  if (before == State::kFree) {
    Unlist(page);
  }
  if (after == State::kFree) {
    List(page);
  }
}

void PagePool::List(int32_t page) {
  pages_[page].free_index = static_cast<int32_t>(free_.size());
  free_.push_back(page);
}

void PagePool::Unlist(int32_t page) {
  const int32_t index = pages_[page].free_index;
  free_[index] = free_.back();
  pages_[free_[index]].free_index = index;
  free_.pop_back();
}

bool PagePool::Refuse(int32_t page, const char* what) {
  violations_.Report("page ", page, " of ", num_pages(), " ", what, "; it has ", owners(page),
                     " owners and is ", in_tree(page) ? "" : "not ", "in the prefix tree");
  if (Has(page)) {
    Update(page, [](Page& p) { p.quarantined = true; });
  }
  return false;
}

int32_t PagePool::Take() {
  if (free_.empty()) {
    violations_.Report("a page was taken from an exhausted pool of ", num_pages());
    return kNoPage;
  }
  const int32_t page = free_.back();
  Update(page, [](Page& p) { p.owners = 1; });
  return page;
}

bool PagePool::AddOwner(int32_t page) {
  const State state = StateOf(page);
  if (state == State::kQuarantined || (owners(page) == 0 && !in_tree(page))) {
    return Refuse(page, "is shared after it was given back");
  }
  Update(page, [](Page& p) { ++p.owners; });
  return true;
}

bool PagePool::DropOwner(int32_t page) {
  if (owners(page) == 0) {
    return Refuse(page, "is given back twice");
  }
  Update(page, [](Page& p) { --p.owners; });
  return true;
}

bool PagePool::AddToTree(int32_t page) {
  if (StateOf(page) != State::kOwned || in_tree(page)) {
    return Refuse(page, "enters the prefix tree");
  }
  Update(page, [](Page& p) { p.in_tree = true; });
  return true;
}

bool PagePool::DropFromTree(int32_t page) {
  if (!in_tree(page)) {
    return Refuse(page, "leaves the prefix tree");
  }
  Update(page, [](Page& p) { p.in_tree = false; });
  return true;
}

bool PagePool::BeginCopy(int32_t page, int32_t Page::* copies) {
  const State state = StateOf(page);
  if (state == State::kFree || state == State::kQuarantined) {
    return Refuse(page, "is copied after it was given back");
  }
  Update(page, [copies](Page& p) { ++(p.*copies); });
  return true;
}

bool PagePool::EndCopy(int32_t page, int32_t Page::* copies) {
  if (!Has(page) || pages_[page].*copies == 0) {
    return Refuse(page, "ends a copy that never began");
  }
  Update(page, [copies](Page& p) { --(p.*copies); });
  return true;
}

bool PagePool::BeginTransfer(int32_t page) {
  return BeginCopy(page, &Page::transfers);
}

bool PagePool::EndTransfer(int32_t page) {
  return EndCopy(page, &Page::transfers);
}

bool PagePool::BeginRead(int32_t page) {
  return BeginCopy(page, &Page::reads);
}

bool PagePool::EndRead(int32_t page) {
  return EndCopy(page, &Page::reads);
}

Status PagePool::CheckInvariants() const {
  std::array<int32_t, kNumStates> found{};
  for (int32_t page = 0; page < num_pages(); ++page) {
    const Page& p = pages_[page];
    ++found[static_cast<size_t>(StateOf(p))];
    if (p.owners < 0 || p.transfers < 0 || p.reads < 0) {
      return InternalError("page pool: page ", page, " has ", p.owners, " owners and ", p.transfers,
                           " transfers");
    }
    const bool listed =
        p.free_index < static_cast<int32_t>(free_.size()) && free_[p.free_index] == page;
    if (listed != (StateOf(p) == State::kFree)) {
      return InternalError("page pool: page ", page, " is wrongly ", listed ? "" : "not ",
                           "on the free list");
    }
  }
  int32_t sum = 0;
  for (const int32_t count : counts_) {
    sum += count;
  }
  if (found != counts_ || sum != num_pages() || static_cast<int32_t>(free_.size()) != num_free()) {
    return InternalError("page pool: ", num_free(), " free + ", num_cached(), " cached + ",
                         num_owned(), " owned + ", num_in_transfer(), " in transfer + ",
                         num_quarantined(), " quarantined pages of ", num_pages(),
                         " do not agree with their states");
  }
  return OkStatus();
}

}  // namespace quire
