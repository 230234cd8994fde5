// PageTable: the pages of one sequence, in order, and how many tokens they hold.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv_cache/page_copy.h"
#include "kv_cache/page_pool.h"

namespace quire {

// Token t is at offset t % page_size of pages()[t / page_size]. Every page but the last is full,
// and there is no page without a token. Must be empty when it is destroyed or its pages are lost to
// the pool. A change that is not possible returns false and changes nothing in the table; what the
// pool refuses, the pool records (PagePool::violations).
class PageTable {
 public:
  // REQUIRES: page_size is a power of two.
  explicit PageTable(int32_t page_size) : page_size_(page_size) {}

  int32_t page_size() const { return page_size_; }
  int32_t length() const { return length_; }  // tokens
  const std::vector<int32_t>& pages() const { return pages_; }

  // Tokens that the last page still takes.
  int32_t room_in_last_page() const {
    return static_cast<int32_t>(pages_.size()) * page_size_ - length_;
  }
  // Pages that `tokens` more tokens take from the pool: the rest of the last page is used first.
  int32_t NewPagesFor(int32_t tokens) const;

  // Room for `tokens` more tokens: the rest of the last page, then whole pages, then one partly
  // filled page. False if tokens < 0 or the pool has fewer free pages than NewPagesFor(tokens).
  bool Extend(int32_t tokens, PagePool& pool);
  // Full pages that others hold, behind this table's own full pages; becomes an owner of each.
  // False at the first that cannot be shared, or if the last page is not full.
  bool AppendShared(std::span<const int32_t> pages, PagePool& pool);
  // As AppendShared of one page of which only the first `tokens` are of this table's history.
  // REQUIRES: 0 < tokens < page size.
  bool AppendSharedPart(int32_t page, int32_t tokens, PagePool& pool);
  // The same pages for another table, which becomes an owner of each: the last one too, though it
  // may be partly filled. REQUIRES: `other` is empty.
  bool ShareWith(PageTable& other, PagePool& pool) const;
  // Is the next token's slot in a page that the tree or another table holds too?
  bool last_page_is_shared(const PagePool& pool) const {
    return room_in_last_page() > 0 && pool.shared(pages_.back());
  }
  // Puts a page of its own in the place of the last one and gives that back. The new page holds the
  // same tokens once the returned copy is done; both are in transfer until the caller ends that.
  // REQUIRES: last_page_is_shared(pool), pool.num_free() > 0.
  PageCopy UnshareLastPage(PagePool& pool);
  // Points entry `index` at `page` of the prefix tree, which holds the same tokens, and gives the
  // old page back. False if that entry is no full page or `page` cannot be shared.
  bool ReplaceWithShared(int32_t index, int32_t page, PagePool& pool);
  // Keeps the first `length` tokens and gives back exactly the pages that hold none of them. False
  // unless 0 <= length <= length().
  bool Truncate(int32_t length, PagePool& pool);

  // Where a token's K and V are: page * page_size + offset. REQUIRES: 0 <= position < length().
  int64_t SlotOf(int32_t position) const;

 private:
  int32_t page_size_;
  int32_t length_ = 0;
  std::vector<int32_t> pages_;
};

}  // namespace quire
