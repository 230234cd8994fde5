#include "kv_cache/eviction_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "kv_cache/prefix_tree.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using Tokens = std::vector<int32_t>;
using NodeId = PrefixTree::NodeId;

NodeId Insert(PrefixTree& tree, int32_t token) {
  return tree.Insert(PrefixTree::kRoot, Tokens{token}, Tokens{token}).node;
}

void Use(PrefixTree& tree, NodeId node, int32_t priority = 0, int64_t expires = PageUse::kNever) {
  tree.Lock(node);
  tree.Unlock(node, priority, expires);
}

TEST(LruEviction, TakesTheLeastRecentlyUsed) {
  PrefixTree tree(1, EvictionKind::kLru);
  const NodeId a = Insert(tree, 1);
  const NodeId b = Insert(tree, 2);
  for (const NodeId node : {a, a, a, b, a, b}) {
    Use(tree, node);
  }
  EXPECT_THAT(tree.Evict(2), ElementsAre(1, 2));
}

TEST(LfuEviction, TakesTheLeastUsedAndThenTheOlder) {
  PrefixTree tree(1, EvictionKind::kLfu);
  const NodeId a = Insert(tree, 1);
  const NodeId b = Insert(tree, 2);
  const NodeId c = Insert(tree, 3);
  for (const NodeId node : {a, a, a, c, b}) {
    Use(tree, node);
  }
  EXPECT_THAT(tree.Evict(3), ElementsAre(3, 2, 1));
}

TEST(LfuEviction, WhatWasPopularLongAgoGoesInTheEnd) {
  PrefixTree tree(1, EvictionKind::kLfu);
  const NodeId popular = Insert(tree, 1);
  for (int i = 0; i < 10; ++i) {
    Use(tree, popular);
  }
  // A stream of histories, each used once: those that went raise the rank of those that come.
  int32_t token = 100;
  Use(tree, Insert(tree, token));
  for (int i = 0; i < 30; ++i) {
    Use(tree, Insert(tree, ++token));
    const Tokens evicted = tree.Evict(1);
    if (evicted == Tokens{1}) {
      EXPECT_GT(i, 5);
      return;
    }
  }
  FAIL() << "page 1 stays for ever";
}

TEST(LfuEviction, AParentIsUsedAsOftenAsItsChildren) {
  PrefixTree tree(1, EvictionKind::kLfu);
  const NodeId parent = Insert(tree, 1);
  tree.Lock(parent);
  tree.Lock(parent);
  for (int32_t token = 10; token < 14; ++token) {
    Use(tree, tree.Insert(parent, Tokens{token}, Tokens{token}).node);
  }
  tree.Unlock(parent);
  tree.Unlock(parent);
  const NodeId other = Insert(tree, 2);
  for (int i = 0; i < 5; ++i) {
    Use(tree, other);
  }
  EXPECT_THAT(tree.Evict(6), ElementsAre(10, 11, 12, 13, 2, 1));
}

TEST(PriorityEviction, TakesTheLeastImportantFirst) {
  PrefixTree tree(1, EvictionKind::kPriority);
  Use(tree, Insert(tree, 1), 2);
  Use(tree, Insert(tree, 2), 1);
  Use(tree, Insert(tree, 3), 0);
  Use(tree, Insert(tree, 4), 1);
  EXPECT_THAT(tree.Evict(4), ElementsAre(3, 2, 4, 1));
}

TEST(PriorityEviction, APriorityExpires) {
  PrefixTree tree(1, EvictionKind::kPriority);
  Use(tree, Insert(tree, 1), 9, 100);
  Use(tree, Insert(tree, 2), 1);
  Use(tree, Insert(tree, 3));
  tree.AdvanceTo(99);
  EXPECT_TRUE(tree.CheckInvariants().ok());
  tree.AdvanceTo(50);  // time does not go back
  Use(tree, Insert(tree, 4));
  tree.AdvanceTo(100);
  EXPECT_TRUE(tree.CheckInvariants().ok());
  EXPECT_THAT(tree.Evict(4), ElementsAre(1, 3, 4, 2));
}

TEST(PriorityEviction, APriorityThatExpiresWhileLockedIsGone) {
  PrefixTree tree(1, EvictionKind::kPriority);
  const NodeId a = Insert(tree, 1);
  Use(tree, a, 9, 100);
  tree.Lock(a);
  tree.AdvanceTo(200);
  Use(tree, Insert(tree, 2), 1);
  tree.Unlock(a);
  EXPECT_THAT(tree.Evict(2), ElementsAre(1, 2));
}

TEST(PriorityEviction, AParentInheritsUntilTheChildWouldExpire) {
  PrefixTree tree(1, EvictionKind::kPriority);
  const NodeId end = tree.Insert(PrefixTree::kRoot, Tokens{1, 2}, Tokens{1, 2}).node;
  tree.Lock(end);
  tree.FindAndSplit(Tokens{1, 9});
  tree.Unlock(end, 5, 100);
  Use(tree, Insert(tree, 3), 4);
  Use(tree, Insert(tree, 4), 6);
  EXPECT_THAT(tree.Evict(2), ElementsAre(3, 2));
  Use(tree, Insert(tree, 5), 4);
  tree.AdvanceTo(100);
  EXPECT_THAT(tree.Evict(3), ElementsAre(1, 5, 4));
}

}  // namespace
}  // namespace quire
