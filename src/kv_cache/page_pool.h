// PagePool: which page belongs to whom. Counts only; the memory is KvStorage's.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/status.h"

namespace quire {

// Every page is in one of three states:
//   free    nobody refers to it
//   owned   `owners` >= 1 sequences refer to it, and perhaps the prefix tree too
//   cached  only the prefix tree refers to it: its content may be matched again or thrown away
// A page that the prefix tree refers to is never written again; one that it does not refer to has
// at most one owner, who may write it. All operations are O(1) and check the state they need in
// every build, so a double free or a use after free stops at its cause. Deterministic: the page
// given back last is taken first. One thread at a time.
class PagePool {
 public:
  enum class State : uint8_t { kFree, kOwned, kCached };

  // REQUIRES: num_pages >= 1.
  explicit PagePool(int32_t num_pages);

  // A free page, now with one owner. REQUIRES: num_free() > 0.
  int32_t Take();
  // One more owner of a page in the prefix tree. REQUIRES: in_tree(page).
  void AddOwner(int32_t page);
  // One owner fewer; the last one leaves it free, or cached if the prefix tree refers to it.
  // REQUIRES: owners(page) > 0.
  void DropOwner(int32_t page);
  // The prefix tree takes a reference. REQUIRES: exactly one owner, not in the tree.
  void AddToTree(int32_t page);
  // The prefix tree lets go of a cached page, which becomes free. REQUIRES: StateOf(page) ==
  // kCached.
  void EvictFromTree(int32_t page);

  State StateOf(int32_t page) const;
  int32_t owners(int32_t page) const { return At(page).owners; }
  bool in_tree(int32_t page) const { return At(page).in_tree; }

  int32_t num_pages() const { return static_cast<int32_t>(pages_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_cached() const { return num_cached_; }
  int32_t num_owned() const { return num_owned_; }

  // Recounts everything: free + cached + owned is all pages, and each count and the free list agree
  // with the pages' states. O(pages). Errors: internal, naming the page or the counts.
  Status CheckInvariants() const;

 private:
  struct Page {
    int32_t owners = 0;
    bool in_tree = false;
  };

  const Page& At(int32_t page) const;
  Page& At(int32_t page) { return const_cast<Page&>(std::as_const(*this).At(page)); }

  std::vector<Page> pages_;
  std::vector<int32_t> free_;  // a stack
  int32_t num_cached_ = 0;
  int32_t num_owned_ = 0;
};

}  // namespace quire
