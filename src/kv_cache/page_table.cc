#include "kv_cache/page_table.h"

#include "base/check.h"

namespace quire {

int32_t PageTable::NewPagesFor(int32_t tokens) const {
  const int32_t beyond = tokens - room_in_last_page();
  return beyond <= 0 ? 0 : (beyond - 1) / page_size_ + 1;
}

bool PageTable::Extend(int32_t tokens, PagePool& pool) {
  if (tokens < 0 || pool.num_free() < NewPagesFor(tokens)) {
    return false;
  }
  const int32_t new_pages = NewPagesFor(tokens);
  for (int32_t i = 0; i < new_pages; ++i) {
    pages_.push_back(pool.Take());
  }
  length_ += tokens;
  return true;
}

bool PageTable::AppendShared(std::span<const int32_t> pages, PagePool& pool) {
  if (room_in_last_page() != 0) {
    return false;
  }
  for (const int32_t page : pages) {
    if (!pool.AddOwner(page)) {
      return false;
    }
    pages_.push_back(page);
    length_ += page_size_;
  }
  return true;
}

bool PageTable::AppendSharedPart(int32_t page, int32_t tokens, PagePool& pool) {
  if (!AppendShared(std::span(&page, 1), pool)) {
    return false;
  }
  length_ -= page_size_ - tokens;
  return true;
}

bool PageTable::ShareWith(PageTable& other, PagePool& pool) const {
  if (!other.AppendShared(pages_, pool)) {
    return false;
  }
  other.length_ = length_;
  return true;
}

PageCopy PageTable::UnshareLastPage(PagePool& pool) {
  const PageCopy copy{.from = pages_.back(), .to = pool.Take()};
  pool.BeginTransfer(copy.from);
  pool.BeginTransfer(copy.to);
  pool.DropOwner(copy.from);
  pages_.back() = copy.to;
  return copy;
}

bool PageTable::ReplaceWithShared(int32_t index, int32_t page, PagePool& pool) {
  if (index < 0 || index >= length_ / page_size_ || !pool.AddOwner(page)) {
    return false;
  }
  pool.DropOwner(pages_[index]);
  pages_[index] = page;
  return true;
}

bool PageTable::Truncate(int32_t length, PagePool& pool) {
  if (length < 0 || length > length_) {
    return false;
  }
  const size_t kept = (static_cast<size_t>(length) + page_size_ - 1) / page_size_;
  while (pages_.size() > kept) {
    pool.DropOwner(pages_.back());
    pages_.pop_back();
  }
  length_ = length;
  return true;
}

int64_t PageTable::SlotOf(int32_t position) const {
  QUIRE_CHECK_GE(position, 0);
  QUIRE_CHECK_LT(position, length_);
  return int64_t{pages_[position / page_size_]} * page_size_ + position % page_size_;
}

}  // namespace quire
