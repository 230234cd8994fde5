#include "kv_cache/page_table.h"

#include "base/check.h"

namespace quire {

int32_t PageTable::NewPagesFor(int32_t tokens) const {
  const int32_t beyond = tokens - room_in_last_page();
  return beyond <= 0 ? 0 : (beyond - 1) / page_size_ + 1;
}

void PageTable::Extend(int32_t tokens, PagePool& pool) {
  QUIRE_CHECK_GE(tokens, 0);
  const int32_t new_pages = NewPagesFor(tokens);
  QUIRE_CHECK_GE(pool.num_free(), new_pages);
  for (int32_t i = 0; i < new_pages; ++i) {
    pages_.push_back(pool.Take());
  }
  length_ += tokens;
}

void PageTable::AppendShared(std::span<const int32_t> pages, PagePool& pool) {
  QUIRE_CHECK_EQ(room_in_last_page(), 0) << "tokens of room before shared pages";
  for (const int32_t page : pages) {
    pool.AddOwner(page);
    pages_.push_back(page);
  }
  length_ += static_cast<int32_t>(pages.size()) * page_size_;
}

void PageTable::ReplaceWithShared(int32_t index, int32_t page, PagePool& pool) {
  QUIRE_CHECK_GE(index, 0);
  QUIRE_CHECK_LT(index, length_ / page_size_) << "only a full page can be replaced";
  pool.AddOwner(page);
  pool.DropOwner(pages_[index]);
  pages_[index] = page;
}

void PageTable::Truncate(int32_t length, PagePool& pool) {
  QUIRE_CHECK_GE(length, 0);
  QUIRE_CHECK_LE(length, length_);
  const size_t kept = (static_cast<size_t>(length) + page_size_ - 1) / page_size_;
  while (pages_.size() > kept) {
    pool.DropOwner(pages_.back());
    pages_.pop_back();
  }
  length_ = length;
}

int64_t PageTable::SlotOf(int32_t position) const {
  QUIRE_CHECK_GE(position, 0);
  QUIRE_CHECK_LT(position, length_);
  return int64_t{pages_[position / page_size_]} * page_size_ + position % page_size_;
}

}  // namespace quire
