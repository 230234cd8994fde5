// PrefixTree: a radix tree over whole pages of tokens, from token history to the page that holds
// its KV.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kv_cache/eviction_policy.h"
#include "kv_cache/violations.h"

namespace quire {

// Every edge is one or more pages long, so a node has at most one child per content of a first
// page. The tree knows page ids only as values; KvCache keeps the pool in agreement. The idea is
// RadixAttention's (Zheng et al., "SGLang", 2023), cut at page borders.
//
// Histories of different salts share nothing: the first edge is found by the salt too.
//
// A lock on a node keeps it and its ancestors: ancestors because they have a child. Eviction takes
// unlocked leaves in the order of the policy, from the end of the leaf, page by page; a node counts
// as used whenever a child was that it had. A handle that is stale is reported in violations() and
// the call has no effect. Deterministic: recency is a counter of unlocks. One thread at a time.
//
// Finding costs time linear in the match; a split copies the node that is split.
class PrefixTree {
 public:
  using NodeId = int32_t;
  static constexpr NodeId kRoot = 0;

  // REQUIRES: page_size is a power of two.
  // With min_partial > 0 it can find pages that share only so many tokens with what is looked for.
  explicit PrefixTree(int32_t page_size, EvictionKind eviction = EvictionKind::kLru,
                      int32_t min_partial = 0);

  // The pages of the longest prefix of `tokens` in the tree, whole pages only.
  std::vector<int32_t> Find(std::span<const int32_t> tokens, uint64_t salt = 0) const;

  // A page that begins as the tokens behind a match do.
  struct Partial {
    int32_t page = -1;   // -1: none
    int32_t tokens = 0;  // from min_partial to page size - 1
  };
  // Behind Find(tokens, salt). Of several pages the one that came last to its place in the tree.
  Partial FindPartial(std::span<const int32_t> tokens, uint64_t salt = 0) const;

  // As Find, behind the history that ends at `from`, which is the root or locked.
  std::vector<int32_t> FindFrom(NodeId from, std::span<const int32_t> tokens,
                                uint64_t salt = 0) const;

  struct Match {
    NodeId node = kRoot;         // where the match ends
    std::vector<int32_t> pages;  // of the tokens from the start of the sequence
    Partial partial;             // behind them
  };
  // As Find and FindPartial, and splits the node in which the match ends so that `node` ends there
  // too.
  Match FindAndSplit(std::span<const int32_t> tokens, uint64_t salt = 0);

  struct Inserted {
    NodeId node = kRoot;            // where the inserted tokens end
    std::vector<int32_t> existing;  // pages that the tree already held for the first of the tokens
  };
  // Continues the history that ends at `from` with `tokens`, whose KV is in `pages`. Where the tree
  // already holds a page of the same history, that one stays and is reported in `existing`; the
  // others of `pages` are now the tree's. REQUIRES: tokens.size() == pages.size() * page size;
  // `from` is the root or locked by the caller (a leaf locked by the caller alone grows in place).
  Inserted Insert(NodeId from, std::span<const int32_t> tokens, std::span<const int32_t> pages,
                  uint64_t salt = 0);
  // The node that ends `pages` pages before the end of `node`, on the same path; splits where it
  // must. REQUIRES: `node` is locked and its path has that many pages.
  NodeId AncestorAndSplit(NodeId node, int32_t pages);

  void Lock(NodeId node);
  // The priority holds until tick `expires`. REQUIRES: priority >= 0.
  void Unlock(NodeId node, int32_t priority = 0, int64_t expires = PageUse::kNever);

  // Removes up to `count` pages and returns them: fewer only if all that is left is locked.
  std::vector<int32_t> Evict(int32_t count);
  // Time is `now` from here on: priorities expire. Earlier than before is ignored.
  void AdvanceTo(int64_t now);

  int32_t num_pages() const { return num_pages_; }
  int32_t num_nodes() const { return static_cast<int32_t>(children_.size()); }
  int32_t locks(NodeId node) const { return At(node).locks; }
  const Violations& violations() const { return violations_; }
  // The pages from the root to the end of `node`, for checks. Linear in the path.
  std::vector<int32_t> PathPages(NodeId node) const;

  // Structure, index, counts and the eviction order agree. O(tokens). Errors: internal.
  Status CheckInvariants() const;

 private:
  struct Node {
    std::vector<int32_t> tokens;  // pages.size() * page size; empty only for the root
    std::vector<int32_t> pages;
    NodeId parent = -1;
    int32_t num_children = 0;
    int32_t locks = 0;
    uint64_t salt = 0;
    PageUse use;
    EvictionRank rank;  // as it was offered
    bool live = false;
  };
  struct Position {
    NodeId node;
    int32_t pages;  // of the node that match
  };

  const Node& At(NodeId node) const;
  Node& At(NodeId node) { return const_cast<Node&>(std::as_const(*this).At(node)); }

  // Is `node` the root or locked? If not, that is a violation.
  bool Held(NodeId node, const char* call);
  // Follows `tokens` from the end of `from`, adding the pages passed to `passed`.
  Position Walk(NodeId from, uint64_t salt, std::span<const int32_t> tokens,
                std::vector<int32_t>& passed) const;
  Partial PartialAt(const Position& end, uint64_t salt, std::span<const int32_t> rest) const;
  // -1 if there is none.
  NodeId FindChild(NodeId parent, uint64_t salt, std::span<const int32_t> first_page) const;
  std::span<const int32_t> FirstPage(const Node& node) const;

  NodeId NewNode(NodeId parent, uint64_t salt, std::span<const int32_t> tokens,
                 std::span<const int32_t> pages);
  void RemoveLeaf(NodeId node);
  void Link(NodeId node);  // makes FindChild(parent, first page) find it
  void Unlink(NodeId node);
  // Cuts `node` after `pages` pages; the first part becomes a new node, which is returned.
  NodeId Split(NodeId node, int32_t pages);

  bool Evictable(NodeId node) const;
  // A node's place in the eviction order: withdrawn before what it depends on changes, offered
  // again after.
  void Withdraw(NodeId node);
  void Offer(NodeId node);

  Status CheckNode(NodeId node) const;

  int32_t page_size_;
  int32_t min_partial_;
  int32_t num_pages_ = 0;
  uint64_t unlocks_ = 0;
  int64_t now_ = std::numeric_limits<int64_t>::min();
  std::unique_ptr<EvictionPolicy> policy_;
  std::vector<Node> nodes_;
  std::vector<NodeId> unused_;  // ids of dead nodes
  // By a hash of salt, parent and first page.
  std::unordered_multimap<uint64_t, NodeId> children_;
  // By a hash of salt, parent and the first min_partial_ tokens: the child linked last.
  std::unordered_map<uint64_t, NodeId> partial_children_;
  std::set<std::pair<EvictionRank, NodeId>> evictable_;  // the first goes first
  std::set<std::pair<int64_t, NodeId>> expiring_;        // of these, those that expire
  Violations violations_;
};

}  // namespace quire
