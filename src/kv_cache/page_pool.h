// PagePool: which page belongs to whom. Counts only; the memory is KvStorage's.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kv_cache/violations.h"

namespace quire {

// Every page is in one of five states, the first of this list that holds:
//   quarantined  a rule was broken with it: never handed out again
//   owned        `owners` >= 1 holders refer to it, and perhaps the prefix tree too
//   in transfer  a copy from or to it is under way; perhaps the prefix tree refers to it too
//   cached       only the prefix tree refers to it, and perhaps a tier reads it: its content may be
//                matched again or thrown away
//   free         nobody refers to it
// A page may be written by its owner if that is the only one and the prefix tree does not refer to
// it. All operations are O(1). An operation that the page's state does not allow (a double free, a
// use after free) returns false, is recorded in violations() and has no effect but to quarantine
// the page: from then on neither caller can share it with a third. Deterministic: the page given
// back last is taken first, as long as nothing is quarantined. One thread at a time.
class PagePool {
 public:
  enum class State : uint8_t { kFree, kOwned, kCached, kInTransfer, kQuarantined };
  static constexpr int32_t kNoPage = -1;

  // REQUIRES: num_pages >= 1.
  explicit PagePool(int32_t num_pages);

  // A free page, now with one owner. A violation, and kNoPage, if num_free() is 0.
  int32_t Take();
  // One more owner of a page that has one, or that the prefix tree refers to.
  bool AddOwner(int32_t page);
  // One owner fewer of a page that has one.
  bool DropOwner(int32_t page);
  // The prefix tree takes a reference to a page that has an owner and is not in the tree.
  bool AddToTree(int32_t page);
  // The prefix tree lets go of a page. Its other holders keep it.
  bool DropFromTree(int32_t page);
  // A copy from or to a page that is not free begins or ends; several may be under way.
  bool BeginTransfer(int32_t page);
  bool EndTransfer(int32_t page);
  // The same of a copy from the page in the background: nobody may write it before that ends. The
  // tree may let go of it, which leaves it in transfer.
  bool BeginRead(int32_t page);
  bool EndRead(int32_t page);

  // A page that is not of this pool is kQuarantined, without owners.
  State StateOf(int32_t page) const;
  int32_t owners(int32_t page) const { return Has(page) ? pages_[page].owners : 0; }
  int32_t transfers(int32_t page) const { return Has(page) ? pages_[page].transfers : 0; }
  int32_t reads(int32_t page) const { return Has(page) ? pages_[page].reads : 0; }
  bool in_tree(int32_t page) const { return Has(page) && pages_[page].in_tree; }
  // Has a page with an owner another holder or reader, so that it must not be written?
  bool shared(int32_t page) const {
    return StateOf(page) == State::kOwned && (owners(page) > 1 || in_tree(page) || reads(page) > 0);
  }

  int32_t num_pages() const { return static_cast<int32_t>(pages_.size()); }
  int32_t num_free() const { return Count(State::kFree); }
  int32_t num_cached() const { return Count(State::kCached); }
  int32_t num_owned() const { return Count(State::kOwned); }
  int32_t num_in_transfer() const { return Count(State::kInTransfer); }
  int32_t num_quarantined() const { return Count(State::kQuarantined); }

  const Violations& violations() const { return violations_; }

  // Recounts everything: the states' counts add up to all pages and agree with the pages, and the
  // free list has exactly the free ones. O(pages). Errors: internal, naming the page or the counts.
  Status CheckInvariants() const;

 private:
  static constexpr size_t kNumStates = 5;
  struct Page {
    int32_t owners = 0;
    int32_t transfers = 0;
    int32_t reads = 0;
    int32_t free_index = 0;  // in free_, if it is free
    bool in_tree = false;
    bool quarantined = false;
  };

  bool BeginCopy(int32_t page, int32_t Page::* copies);
  bool EndCopy(int32_t page, int32_t Page::* copies);
  bool Has(int32_t page) const { return page >= 0 && page < num_pages(); }
  static State StateOf(const Page& page);
  int32_t Count(State state) const { return counts_[static_cast<size_t>(state)]; }

  // Applies `change` to the page; counts and free list follow its state.
  template <typename Change>
  void Update(int32_t page, Change change);
  void List(int32_t page);
  void Unlist(int32_t page);
  // Records what was wrong, quarantines the page; false.
  bool Refuse(int32_t page, const char* what);

  std::vector<Page> pages_;
  std::vector<int32_t> free_;  // a stack
  std::array<int32_t, kNumStates> counts_{};
  Violations violations_;
};

}  // namespace quire
