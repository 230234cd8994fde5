#include "kv_cache/prefix_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/test_seed.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tokens = std::vector<int32_t>;
using NodeId = PrefixTree::NodeId;

void ExpectSound(const PrefixTree& tree) {
  const Status status = tree.CheckInvariants();
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(PrefixTree, FindsNothingInAnEmptyTree) {
  const PrefixTree tree(2);
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3}), IsEmpty());
  ExpectSound(tree);
}

TEST(PrefixTree, MatchesWholePagesOnly) {
  PrefixTree tree(2);
  tree.Insert(PrefixTree::kRoot, Tokens{1, 2, 3, 4, 5, 6}, Tokens{10, 11, 12});
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3, 4, 5, 6, 7}), ElementsAre(10, 11, 12));
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3, 4, 5}), ElementsAre(10, 11));
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3, 9}), ElementsAre(10));
  EXPECT_THAT(tree.Find(Tokens{1}), IsEmpty());
  EXPECT_THAT(tree.Find(Tokens{1, 9, 3, 4}), IsEmpty());
  EXPECT_EQ(tree.num_pages(), 3);
  ExpectSound(tree);
}

TEST(PrefixTree, KeepsTheFirstCopyAndReportsIt) {
  PrefixTree tree(2);
  tree.Insert(PrefixTree::kRoot, Tokens{1, 2, 3, 4, 5, 6}, Tokens{10, 11, 12});
  const auto inserted =
      tree.Insert(PrefixTree::kRoot, Tokens{1, 2, 3, 4, 7, 8}, Tokens{20, 21, 22});
  EXPECT_THAT(inserted.existing, ElementsAre(10, 11));
  EXPECT_THAT(tree.PathPages(inserted.node), ElementsAre(10, 11, 22));
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3, 4, 5, 6}), ElementsAre(10, 11, 12));
  EXPECT_EQ(tree.num_pages(), 4);
  ExpectSound(tree);
}

TEST(PrefixTree, SplitKeepsLocksOnTheEndOfTheOldNode) {
  PrefixTree tree(1);
  const NodeId end =
      tree.Insert(PrefixTree::kRoot, Tokens{1, 2, 3, 4}, Tokens{10, 11, 12, 13}).node;
  tree.Lock(end);
  const PrefixTree::Match match = tree.FindAndSplit(Tokens{1, 2, 9});
  EXPECT_THAT(match.pages, ElementsAre(10, 11));
  EXPECT_THAT(tree.PathPages(match.node), ElementsAre(10, 11));
  EXPECT_THAT(tree.PathPages(end), ElementsAre(10, 11, 12, 13));
  EXPECT_EQ(tree.locks(end), 1);
  EXPECT_EQ(tree.locks(match.node), 0);
  EXPECT_THAT(tree.Evict(10), IsEmpty());
  ExpectSound(tree);
}

TEST(PrefixTree, ALeafLockedOnceGrowsInPlace) {
  PrefixTree tree(1);
  const NodeId node = tree.Insert(PrefixTree::kRoot, Tokens{1}, Tokens{10}).node;
  tree.Lock(node);
  EXPECT_EQ(tree.Insert(node, Tokens{2}, Tokens{11}).node, node);
  tree.Lock(node);  // a second sequence ends here: the node must not grow beyond it
  const NodeId longer = tree.Insert(node, Tokens{3}, Tokens{12}).node;
  EXPECT_NE(longer, node);
  EXPECT_THAT(tree.PathPages(node), ElementsAre(10, 11));
  EXPECT_THAT(tree.PathPages(longer), ElementsAre(10, 11, 12));
  ExpectSound(tree);
}

TEST(PrefixTree, EvictsTheLeastRecentlyUnlockedFromItsEnd) {
  PrefixTree tree(1);
  const NodeId a = tree.Insert(PrefixTree::kRoot, Tokens{1, 2}, Tokens{10, 11}).node;
  const NodeId b = tree.Insert(PrefixTree::kRoot, Tokens{3, 4}, Tokens{20, 21}).node;
  for (const NodeId node : {a, b, a}) {
    tree.Lock(node);
    tree.Unlock(node);
  }
  EXPECT_THAT(tree.Evict(1), ElementsAre(21));
  EXPECT_THAT(tree.Find(Tokens{3, 4}), ElementsAre(20));
  EXPECT_THAT(tree.Evict(2), ElementsAre(20, 11));
  ExpectSound(tree);
  EXPECT_THAT(tree.Evict(5), ElementsAre(10));
  EXPECT_EQ(tree.num_pages(), 0);
  ExpectSound(tree);
}

TEST(PrefixTree, AParentIsAsRecentAsItsChildren) {
  PrefixTree tree(1);
  const NodeId parent = tree.Insert(PrefixTree::kRoot, Tokens{1}, Tokens{10}).node;
  tree.Lock(parent);
  tree.Lock(parent);
  const NodeId child = tree.Insert(parent, Tokens{2}, Tokens{11}).node;
  const NodeId other = tree.Insert(PrefixTree::kRoot, Tokens{3}, Tokens{20}).node;
  tree.Unlock(parent);
  tree.Unlock(parent);
  for (const NodeId node : {other, child}) {
    tree.Lock(node);
    tree.Unlock(node);
  }
  // `other` goes first, though the parent itself was unlocked before it.
  EXPECT_THAT(tree.Evict(3), ElementsAre(20, 11, 10));
}

TEST(PrefixTree, AVeryDeepTreeIsNoProblem) {
  PrefixTree tree(1);
  NodeId node = PrefixTree::kRoot;
  for (int32_t i = 0; i < 50'000; ++i) {
    node = tree.Insert(node, Tokens{i}, Tokens{i}).node;
    tree.Lock(node);
    tree.Lock(node);  // keeps it from growing in place
  }
  EXPECT_EQ(tree.PathPages(node).size(), 50'000);
}

TEST(PrefixTree, StaleHandlesAreReportedAndChangeNothing) {
  PrefixTree tree(1);
  const NodeId node = tree.Insert(PrefixTree::kRoot, Tokens{1}, Tokens{10}).node;
  tree.Unlock(node);
  EXPECT_EQ(tree.violations().count(), 1);
  EXPECT_EQ(tree.Insert(node, Tokens{2}, Tokens{11}).node, PrefixTree::kRoot);
  EXPECT_EQ(tree.violations().count(), 2);
  EXPECT_EQ(tree.num_pages(), 1);
  tree.Evict(1);
  tree.Unlock(node);
  tree.Unlock(-1);
  EXPECT_EQ(tree.AncestorAndSplit(node, 1), PrefixTree::kRoot);
  EXPECT_EQ(tree.violations().count(), 5);
  ExpectSound(tree);
}

TEST(PrefixTree, SaltsShareNothing) {
  PrefixTree tree(2);
  const NodeId mine = tree.Insert(PrefixTree::kRoot, Tokens{1, 2}, Tokens{10}, 7).node;
  EXPECT_THAT(tree.Find(Tokens{1, 2}, 7), ElementsAre(10));
  EXPECT_THAT(tree.Find(Tokens{1, 2}), IsEmpty());
  EXPECT_THAT(tree.Find(Tokens{1, 2}, 8), IsEmpty());
  const auto other = tree.Insert(PrefixTree::kRoot, Tokens{1, 2}, Tokens{20}, 8);
  EXPECT_THAT(other.existing, IsEmpty());
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3}, 8), ElementsAre(20));
  tree.Lock(mine);
  tree.Insert(mine, Tokens{3, 4, 5, 6}, Tokens{11, 12}, 7);
  EXPECT_THAT(tree.FindAndSplit(Tokens{1, 2, 3, 4}, 7).pages, ElementsAre(10, 11));
  EXPECT_THAT(tree.Find(Tokens{1, 2, 3, 4, 5, 6}, 7), ElementsAre(10, 11, 12));
  ExpectSound(tree);
}

TEST(PrefixTree, FindsTheAncestorThatEndsEarlier) {
  PrefixTree tree(1);
  const NodeId first = tree.Insert(PrefixTree::kRoot, Tokens{1, 2}, Tokens{10, 11}).node;
  tree.Lock(first);
  tree.Lock(first);  // keeps it from growing in place
  const NodeId second = tree.Insert(first, Tokens{3, 4}, Tokens{12, 13}).node;
  tree.Lock(second);
  EXPECT_EQ(tree.AncestorAndSplit(second, 0), second);
  EXPECT_EQ(tree.AncestorAndSplit(second, 2), first);
  EXPECT_THAT(tree.PathPages(tree.AncestorAndSplit(second, 1)), ElementsAre(10, 11, 12));
  EXPECT_THAT(tree.PathPages(tree.AncestorAndSplit(second, 3)), ElementsAre(10));
  EXPECT_EQ(tree.AncestorAndSplit(second, 4), PrefixTree::kRoot);
  EXPECT_THAT(tree.PathPages(second), ElementsAre(10, 11, 12, 13));
  ExpectSound(tree);
}

// The tree against a plain map from each page-aligned history to its page.
class TreeAgainstMap {
 public:
  TreeAgainstMap(uint64_t seed, int32_t page_size)
      : random_(seed), page_size_(page_size), tree_(page_size) {}

  void Step() {
    switch (random_() % 4) {
      case 0: Insert(); break;
      case 1: Find(); break;
      case 2: UnlockOne(); break;
      default: Evict();
    }
    ExpectSound(tree_);
    EXPECT_EQ(tree_.num_pages(), static_cast<int32_t>(pages_.size()));
  }

 private:
  Tokens RandomTokens() {
    Tokens tokens(random_() % (6 * page_size_));
    for (int32_t& token : tokens) {
      token = static_cast<int32_t>(random_() % 2);
    }
    return tokens;
  }

  Tokens Known(const Tokens& tokens) const {
    Tokens pages;
    for (size_t end = page_size_; end <= tokens.size(); end += page_size_) {
      const auto it =
          pages_.find(Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(end)));
      if (it == pages_.end()) {
        break;
      }
      pages.push_back(it->second);
    }
    return pages;
  }

  void Insert() {
    Tokens tokens = RandomTokens();
    tokens.resize(tokens.size() / page_size_ * page_size_);
    const PrefixTree::Match match = tree_.FindAndSplit(tokens);
    EXPECT_EQ(match.pages, Known(tokens));
    tree_.Lock(match.node);
    Tokens own(tokens.size() / page_size_);
    std::ranges::generate(own, [this] { return next_page_++; });
    // From the match or from the start: the same in the end.
    const size_t skipped = random_() % 2 == 0 ? match.pages.size() : 0;
    const auto inserted = tree_.Insert(skipped > 0 ? match.node : PrefixTree::kRoot,
                                       std::span(tokens).subspan(skipped * page_size_),
                                       std::span(own).subspan(skipped));
    EXPECT_EQ(inserted.existing.size() + skipped, match.pages.size());
    for (size_t i = match.pages.size(); i < own.size(); ++i) {
      pages_[Tokens(tokens.begin(),
                    tokens.begin() + static_cast<ptrdiff_t>((i + 1) * page_size_))] = own[i];
    }
    EXPECT_EQ(tree_.PathPages(inserted.node), Known(tokens));
    tree_.Lock(inserted.node);
    locked_.emplace_back(inserted.node, tokens);
    tree_.Unlock(match.node);
  }

  void Find() {
    const Tokens tokens = RandomTokens();
    EXPECT_EQ(tree_.Find(tokens), Known(tokens));
  }

  void UnlockOne() {
    if (!locked_.empty()) {
      std::swap(locked_[random_() % locked_.size()], locked_.back());
      tree_.Unlock(locked_.back().first);
      locked_.pop_back();
    }
  }

  void Evict() {
    const size_t wanted = random_() % 4;
    const size_t before = pages_.size();
    const Tokens evicted = tree_.Evict(static_cast<int32_t>(wanted));
    for (const int32_t page : evicted) {
      const auto it =
          std::ranges::find(pages_, page, [](const auto& entry) { return entry.second; });
      ASSERT_NE(it, pages_.end()) << "page " << page << " was not in the tree";
      const auto extends = [&it](const Tokens& tokens) {
        return tokens.size() >= it->first.size() &&
               std::equal(it->first.begin(), it->first.end(), tokens.begin());
      };
      EXPECT_EQ(std::ranges::count_if(pages_, [&](const auto& e) { return extends(e.first); }), 1)
          << "page " << page << " was evicted before one behind it";
      EXPECT_TRUE(
          std::ranges::none_of(locked_, [&](const auto& lock) { return extends(lock.second); }))
          << "page " << page << " was locked";
      pages_.erase(it);
    }
    if (locked_.empty()) {
      EXPECT_EQ(evicted.size(), std::min(wanted, before));
    }
  }

  std::mt19937_64 random_;
  int32_t page_size_;
  PrefixTree tree_;
  std::map<Tokens, int32_t> pages_;
  std::vector<std::pair<NodeId, Tokens>> locked_;  // and where they end
  int32_t next_page_ = 0;
};

TEST(PrefixTree, AgreesWithAMapUnderRandomOperations) {
  const uint64_t seed = TestSeed();
  for (const int32_t page_size : {1, 2, 4}) {
    TreeAgainstMap pair(seed, page_size);
    for (int i = 0; i < 3000 && !testing::Test::HasFailure(); ++i) {
      pair.Step();
    }
  }
}

}  // namespace
}  // namespace quire
