#include "kv_cache/page_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/test_seed.h"

namespace quire {
namespace {

using State = PagePool::State;

TEST(PagePool, AllPagesAreFreeAtFirst) {
  const PagePool pool(3);
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_EQ(pool.num_owned(), 0);
  EXPECT_EQ(pool.StateOf(2), State::kFree);
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

TEST(PagePool, TakesEachPageOnceAndTheLastGivenBackFirst) {
  PagePool pool(3);
  const std::set<int32_t> pages = {pool.Take(), pool.Take(), pool.Take()};
  EXPECT_EQ(pages, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.num_owned(), 3);
  pool.DropOwner(1);
  pool.DropOwner(0);
  EXPECT_EQ(pool.Take(), 0);
  EXPECT_EQ(pool.Take(), 1);
}

TEST(PagePool, APageOfTheTreeIsCachedWhenItsLastOwnerGoes) {
  PagePool pool(2);
  const int32_t page = pool.Take();
  pool.AddToTree(page);
  EXPECT_EQ(pool.StateOf(page), State::kOwned);
  pool.AddOwner(page);
  EXPECT_EQ(pool.owners(page), 2);
  pool.DropOwner(page);
  EXPECT_EQ(pool.StateOf(page), State::kOwned);
  pool.DropOwner(page);
  EXPECT_EQ(pool.StateOf(page), State::kCached);
  EXPECT_EQ(pool.num_cached(), 1);
  pool.AddOwner(page);
  EXPECT_EQ(pool.StateOf(page), State::kOwned);
  pool.DropOwner(page);
  pool.EvictFromTree(page);
  EXPECT_EQ(pool.StateOf(page), State::kFree);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

using PagePoolDeathTest = testing::Test;

TEST(PagePoolDeathTest, StopsAtADoubleFree) {
  PagePool pool(2);
  const int32_t page = pool.Take();
  pool.DropOwner(page);
  EXPECT_DEATH(pool.DropOwner(page), "given back twice");
}

TEST(PagePoolDeathTest, StopsAtAUseAfterFree) {
  PagePool pool(2);
  const int32_t page = pool.Take();
  pool.DropOwner(page);
  EXPECT_DEATH(pool.AddToTree(page), "owners");
  EXPECT_DEATH(pool.AddOwner(page), "not in the prefix tree");
}

TEST(PagePoolDeathTest, StopsAtWrongStates) {
  PagePool pool(1);
  EXPECT_DEATH(pool.DropOwner(1), "pages");
  EXPECT_DEATH(pool.DropOwner(-1), "page");
  const int32_t page = pool.Take();
  EXPECT_DEATH(pool.Take(), "exhausted");
  EXPECT_DEATH(pool.AddOwner(page), "shared but not in the prefix tree");
  EXPECT_DEATH(pool.EvictFromTree(page), "evicted with 1 owners");
  pool.AddToTree(page);
  EXPECT_DEATH(pool.AddToTree(page), "twice");
}

// Any legal sequence of operations keeps the counts.
TEST(PagePool, CountsAgreeAfterRandomOperations) {
  std::mt19937_64 random(TestSeed());
  PagePool pool(17);
  for (int i = 0; i < 20'000; ++i) {
    const auto page = static_cast<int32_t>(random() % 17);
    const bool owned = pool.StateOf(page) == State::kOwned;
    switch (random() % 5) {
      case 0:
        if (pool.num_free() > 0) {
          pool.Take();
        }
        break;
      case 1:
        if (owned) {
          pool.DropOwner(page);
        }
        break;
      case 2:
        if (owned && !pool.in_tree(page)) {
          pool.AddToTree(page);
        }
        break;
      case 3:
        if (pool.in_tree(page)) {
          pool.AddOwner(page);
        }
        break;
      default:
        if (pool.StateOf(page) == State::kCached) {
          pool.EvictFromTree(page);
        }
    }
    const Status status = pool.CheckInvariants();
    ASSERT_TRUE(status.ok()) << status.message();
  }
}

}  // namespace
}  // namespace quire
