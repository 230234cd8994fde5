#include "kv_cache/page_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

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
  pool.DropFromTree(page);
  EXPECT_EQ(pool.StateOf(page), State::kFree);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

TEST(PagePool, ACopyKeepsItsPageUntilItEnds) {
  PagePool pool(2);
  const int32_t page = pool.Take();
  EXPECT_TRUE(pool.BeginTransfer(page));
  EXPECT_EQ(pool.StateOf(page), State::kOwned);
  pool.DropOwner(page);
  EXPECT_EQ(pool.StateOf(page), State::kInTransfer);
  EXPECT_EQ(pool.num_in_transfer(), 1);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_TRUE(pool.EndTransfer(page));
  EXPECT_EQ(pool.StateOf(page), State::kFree);
  EXPECT_TRUE(pool.violations().status().ok());
}

TEST(PagePool, ACachedPageInTransferStaysInTheTree) {
  PagePool pool(1);
  const int32_t page = pool.Take();
  pool.AddToTree(page);
  pool.DropOwner(page);
  pool.BeginTransfer(page);
  EXPECT_EQ(pool.StateOf(page), State::kInTransfer);
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_TRUE(pool.AddOwner(page));
  pool.DropOwner(page);
  pool.EndTransfer(page);
  EXPECT_EQ(pool.StateOf(page), State::kCached);
}

TEST(PagePool, APageThatIsReadIsCachedButNotFreeBeforeThatEnds) {
  PagePool pool(1);
  const int32_t page = pool.Take();
  pool.AddToTree(page);
  EXPECT_TRUE(pool.BeginRead(page));
  pool.DropOwner(page);
  EXPECT_EQ(pool.StateOf(page), State::kCached);
  pool.AddOwner(page);
  pool.DropFromTree(page);
  EXPECT_TRUE(pool.shared(page));
  pool.DropOwner(page);
  EXPECT_EQ(pool.StateOf(page), State::kInTransfer);
  EXPECT_TRUE(pool.EndRead(page));
  EXPECT_EQ(pool.StateOf(page), State::kFree);
}

TEST(PagePool, OnlyASoleOwnerOutsideOfTheTreeMayWrite) {
  PagePool pool(1);
  pool.Take();
  EXPECT_FALSE(pool.shared(0));
  pool.AddOwner(0);
  EXPECT_TRUE(pool.shared(0));
  pool.DropOwner(0);
  EXPECT_FALSE(pool.shared(0));
  pool.AddToTree(0);
  EXPECT_TRUE(pool.shared(0));
}

void ExpectQuarantined(const PagePool& pool, int32_t page) {
  EXPECT_EQ(pool.StateOf(page), State::kQuarantined);
  EXPECT_EQ(pool.violations().status().code(), StatusCode::kInternal);
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

TEST(PagePool, ADoubleFreePutsThePageInQuarantine) {
  PagePool pool(2);
  const int32_t page = pool.Take();
  EXPECT_TRUE(pool.DropOwner(page));
  EXPECT_FALSE(pool.DropOwner(page));
  ExpectQuarantined(pool, page);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_NE(pool.Take(), page);
  EXPECT_EQ(pool.Take(), PagePool::kNoPage);
  EXPECT_EQ(pool.violations().count(), 2);
}

TEST(PagePool, AUseAfterFreePutsThePageInQuarantine) {
  for (const auto use : {&PagePool::AddOwner, &PagePool::AddToTree, &PagePool::DropFromTree,
                         &PagePool::BeginTransfer, &PagePool::EndTransfer, &PagePool::BeginRead,
                         &PagePool::EndRead}) {
    PagePool pool(2);
    const int32_t page = pool.Take();
    pool.DropOwner(page);
    EXPECT_FALSE((pool.*use)(page));
    ExpectQuarantined(pool, page);
    EXPECT_EQ(pool.owners(page), 0);
  }
}

TEST(PagePool, OwnersOfAQuarantinedPageMayStillLeave) {
  PagePool pool(1);
  const int32_t page = pool.Take();
  pool.AddToTree(page);
  EXPECT_FALSE(pool.AddToTree(page));
  ExpectQuarantined(pool, page);
  EXPECT_FALSE(pool.AddOwner(page));
  EXPECT_TRUE(pool.DropOwner(page));
  EXPECT_TRUE(pool.DropFromTree(page));
  ExpectQuarantined(pool, page);
}

TEST(PagePool, PagesOfNoPoolAreViolationsOnly) {
  PagePool pool(1);
  EXPECT_FALSE(pool.DropOwner(1));
  EXPECT_FALSE(pool.AddOwner(-1));
  EXPECT_EQ(pool.StateOf(7), State::kQuarantined);
  EXPECT_EQ(pool.violations().count(), 2);
  EXPECT_EQ(pool.num_free(), 1);
}

// The states by their definition, without lists and counts.
struct ModelPage {
  int owners = 0;
  int transfers = 0;
  bool in_tree = false;
  bool quarantined = false;

  State state() const {
    return quarantined     ? State::kQuarantined
           : owners > 0    ? State::kOwned
           : transfers > 0 ? State::kInTransfer
           : in_tree       ? State::kCached
                           : State::kFree;
  }
};

// Applies operation `op` if it is legal.
bool ApplyToModel(uint64_t op, ModelPage& page) {
  const bool held = page.owners > 0 || page.in_tree;
  switch (op) {
    case 0: return held && !page.quarantined && ++page.owners > 0;
    case 1: return page.owners > 0 && page.owners-- > 0;
    case 2: return page.owners > 0 && !page.in_tree && !page.quarantined && (page.in_tree = true);
    case 3: return page.in_tree && !(page.in_tree = false);
    case 4: return (held || page.transfers > 0) && !page.quarantined && ++page.transfers > 0;
    default: return page.transfers > 0 && page.transfers-- > 0;
  }
}

bool ApplyToPool(uint64_t op, int32_t page, PagePool& pool) {
  switch (op) {
    case 0: return pool.AddOwner(page);
    case 1: return pool.DropOwner(page);
    case 2: return pool.AddToTree(page);
    case 3: return pool.DropFromTree(page);
    case 4: return pool.BeginTransfer(page);
    default: return pool.EndTransfer(page);
  }
}

// Legal and, with probability `illegal`, other operations against the model.
void CompareWithModel(std::mt19937_64& random, double illegal) {
  constexpr int32_t kPages = 40;
  PagePool pool(kPages);
  std::vector<ModelPage> model(kPages);
  for (int i = 0; i < 5000 && !testing::Test::HasFailure(); ++i) {
    const auto page = static_cast<int32_t>(random() % kPages);
    const uint64_t op = random() % 7;
    ModelPage after = model[page];
    if (op == 6) {
      const int32_t taken = pool.num_free() > 0 ? pool.Take() : PagePool::kNoPage;
      if (taken != PagePool::kNoPage) {
        ASSERT_EQ(model[taken].state(), State::kFree);
        model[taken].owners = 1;
      }
    } else if (ApplyToModel(op, after)) {
      ASSERT_TRUE(ApplyToPool(op, page, pool)) << "operation " << op;
      model[page] = after;
    } else if (std::uniform_real_distribution<>(0, 1)(random) < illegal) {
      ASSERT_FALSE(ApplyToPool(op, page, pool)) << "operation " << op;
      model[page].quarantined = true;
    }
    std::map<State, int32_t> counts;
    for (int32_t p = 0; p < kPages; ++p) {
      ASSERT_EQ(pool.StateOf(p), model[p].state()) << "page " << p << " after operation " << op;
      ++counts[model[p].state()];
    }
    ASSERT_EQ(pool.num_free(), counts[State::kFree]);
    ASSERT_EQ(pool.num_in_transfer(), counts[State::kInTransfer]);
    ASSERT_EQ(pool.num_quarantined(), counts[State::kQuarantined]);
    const Status status = pool.CheckInvariants();
    ASSERT_TRUE(status.ok()) << status.message();
  }
}

TEST(PagePool, AgreesWithAModelUnderRandomOperations) {
  std::mt19937_64 random(TestSeed());
  CompareWithModel(random, 0);
  CompareWithModel(random, 0.02);
}

}  // namespace
}  // namespace quire
