#include "kv_cache/page_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/test_seed.h"

namespace quire {
namespace {

TEST(PageTable, FillsTheLastPageBeforeItTakesAnother) {
  PagePool pool(8);
  PageTable table(4);
  EXPECT_EQ(table.NewPagesFor(0), 0);
  EXPECT_EQ(table.NewPagesFor(1), 1);
  EXPECT_EQ(table.NewPagesFor(4), 1);
  EXPECT_EQ(table.NewPagesFor(5), 2);
  table.Extend(5, pool);
  EXPECT_EQ(table.pages().size(), 2);
  EXPECT_EQ(table.room_in_last_page(), 3);
  EXPECT_EQ(table.NewPagesFor(3), 0);
  EXPECT_EQ(table.NewPagesFor(4), 1);
  table.Extend(3, pool);
  EXPECT_EQ(pool.num_owned(), 2);
  table.Extend(1, pool);
  EXPECT_EQ(pool.num_owned(), 3);
  table.Truncate(0, pool);
}

TEST(PageTable, ADecodeStepTakesAPageOnlyWhenTheLastIsFull) {
  for (const int32_t page_size : {1, 2, 16, 256}) {
    PagePool pool(600);
    PageTable table(page_size);
    for (int32_t length = 0; length < 600; ++length) {
      EXPECT_EQ(table.NewPagesFor(1), length % page_size == 0 ? 1 : 0);
      table.Extend(1, pool);
    }
    EXPECT_EQ(pool.num_owned(), (600 + page_size - 1) / page_size);
    table.Truncate(0, pool);
  }
}

TEST(PageTable, SlotIsPageTimesSizePlusOffset) {
  PagePool pool(8);
  PageTable table(4);
  table.Extend(11, pool);
  for (int32_t position = 0; position < 11; ++position) {
    EXPECT_EQ(table.SlotOf(position), table.pages()[position / 4] * 4 + position % 4);
  }
  EXPECT_DEATH(table.SlotOf(11), "");
  EXPECT_DEATH(table.SlotOf(-1), "");
  table.Truncate(0, pool);
}

TEST(PageTable, TruncateGivesBackExactlyTheEmptyPages) {
  for (int32_t kept = 0; kept <= 11; ++kept) {
    PagePool pool(8);
    PageTable table(4);
    table.Extend(11, pool);
    const std::vector<int32_t> before = table.pages();
    table.Truncate(kept, pool);
    EXPECT_EQ(pool.num_owned(), (kept + 3) / 4);
    EXPECT_EQ(table.length(), kept);
    EXPECT_TRUE(std::equal(table.pages().begin(), table.pages().end(), before.begin()));
    table.Extend(11 - kept, pool);
    EXPECT_EQ(pool.num_owned(), 3);
    table.Truncate(0, pool);
    EXPECT_EQ(pool.num_free(), 8);
  }
}

TEST(PageTable, SharedPagesGainAnOwnerAndAreNotFreed) {
  PagePool pool(8);
  PageTable first(2);
  first.Extend(4, pool);
  pool.AddToTree(first.pages()[0]);
  pool.AddToTree(first.pages()[1]);
  PageTable second(2);
  second.AppendShared(first.pages(), pool);
  EXPECT_EQ(second.length(), 4);
  EXPECT_EQ(pool.owners(first.pages()[0]), 2);
  const std::vector<int32_t> pages = first.pages();
  first.Truncate(0, pool);
  EXPECT_EQ(pool.StateOf(pages[0]), PagePool::State::kOwned);
  second.Truncate(0, pool);
  EXPECT_EQ(pool.StateOf(pages[0]), PagePool::State::kCached);
}

TEST(PageTable, AReplacedPageGoesBackAtOnce) {
  PagePool pool(8);
  PageTable canonical(2);
  canonical.Extend(2, pool);
  pool.AddToTree(canonical.pages()[0]);
  PageTable table(2);
  table.Extend(3, pool);
  const int32_t duplicate = table.pages()[0];
  table.ReplaceWithShared(0, canonical.pages()[0], pool);
  EXPECT_EQ(table.pages()[0], canonical.pages()[0]);
  EXPECT_EQ(pool.StateOf(duplicate), PagePool::State::kFree);
  EXPECT_FALSE(table.ReplaceWithShared(1, canonical.pages()[0], pool));  // not full
  EXPECT_FALSE(table.ReplaceWithShared(0, duplicate, pool));             // free
  EXPECT_EQ(table.pages()[0], canonical.pages()[0]);
  table.Truncate(0, pool);
  canonical.Truncate(0, pool);
}

TEST(PageTable, WhatCannotBeChangesNothing) {
  PagePool pool(4);
  PageTable table(2);
  table.Extend(3, pool);
  EXPECT_FALSE(table.AppendShared({}, pool));  // the last page is not full
  EXPECT_FALSE(table.Extend(6, pool));
  EXPECT_FALSE(table.Extend(-1, pool));
  EXPECT_FALSE(table.Truncate(4, pool));
  EXPECT_FALSE(table.Truncate(-1, pool));
  EXPECT_EQ(table.length(), 3);
  EXPECT_EQ(pool.num_owned(), 2);
  EXPECT_TRUE(table.Extend(5, pool));
  table.Truncate(0, pool);
}

TEST(PageTable, RandomGrowthAndTruncationNeverLeaks) {
  std::mt19937_64 random(TestSeed());
  for (const int32_t page_size : {1, 4, 64}) {
    PagePool pool(40);
    PageTable tables[3] = {PageTable(page_size), PageTable(page_size), PageTable(page_size)};
    for (int i = 0; i < 3000; ++i) {
      PageTable& table = tables[random() % 3];
      const auto tokens = static_cast<int32_t>(random() % (3 * page_size + 2));
      if (random() % 2 == 0 && table.NewPagesFor(tokens) <= pool.num_free()) {
        table.Extend(tokens, pool);
      } else {
        table.Truncate(std::min(tokens, table.length()), pool);
      }
      std::set<int32_t> distinct;
      int32_t pages = 0;
      for (const PageTable& t : tables) {
        distinct.insert(t.pages().begin(), t.pages().end());
        pages += (t.length() + page_size - 1) / page_size;
      }
      ASSERT_EQ(static_cast<int32_t>(distinct.size()), pages);
      ASSERT_EQ(pool.num_owned(), pages);
    }
    for (PageTable& table : tables) {
      table.Truncate(0, pool);
    }
    EXPECT_EQ(pool.num_free(), 40);
  }
}

}  // namespace
}  // namespace quire
