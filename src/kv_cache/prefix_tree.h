// PrefixTree: a radix tree over whole pages of tokens, from token history to the page that holds
// its KV.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"

namespace quire {

// Every edge is one or more pages long, so a node has at most one child per content of a first
// page. The tree knows page ids only as values; KvCache keeps the pool in agreement. The idea is
// RadixAttention's (Zheng et al., "SGLang", 2023), cut at page borders.
//
// A lock on a node keeps it and its ancestors: ancestors because they have a child. Eviction takes
// unlocked leaves, least recently unlocked first, from the end of the leaf, page by page; a node
// counts as used at least as recently as any child it had. Deterministic: time is a counter of
// unlocks. One thread at a time.
class PrefixTree {
 public:
  using NodeId = int32_t;
  static constexpr NodeId kRoot = 0;

  // REQUIRES: page_size is a power of two.
  explicit PrefixTree(int32_t page_size);

  // The pages of the longest prefix of `tokens` in the tree, whole pages only. Linear in the
  // match's length.
  std::vector<int32_t> Find(std::span<const int32_t> tokens) const;

  // The same behind the history that ends at `from`.
  std::vector<int32_t> FindFrom(NodeId from, std::span<const int32_t> tokens) const;

  struct Match {
    NodeId node = kRoot;         // where the match ends
    std::vector<int32_t> pages;  // of the tokens from the start of the sequence
  };
  // As Find, and splits the node in which the match ends so that `node` ends there too.
  Match FindAndSplit(std::span<const int32_t> tokens);

  struct Inserted {
    NodeId node = kRoot;            // where the inserted tokens end
    std::vector<int32_t> existing;  // pages that the tree already held for the first of the tokens
  };
  // Continues the history that ends at `from` with `tokens`, whose KV is in `pages`. Where the tree
  // already holds a page of the same history, that one stays and is reported in `existing`; the
  // others of `pages` are now the tree's. REQUIRES: tokens.size() == pages.size() * page size;
  // `from` is the root or locked by the caller (a leaf locked by the caller alone grows in place).
  Inserted Insert(NodeId from, std::span<const int32_t> tokens, std::span<const int32_t> pages);

  void Lock(NodeId node);
  void Unlock(NodeId node);

  // Removes up to `count` pages and returns them: fewer only if all that is left is locked.
  std::vector<int32_t> Evict(int32_t count);

  int32_t num_pages() const { return num_pages_; }
  int32_t locks(NodeId node) const { return At(node).locks; }
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
    uint64_t last_use = 0;
    bool live = false;
  };
  struct Position {
    NodeId node;
    int32_t pages;  // of the node that match
  };

  const Node& At(NodeId node) const;
  Node& At(NodeId node) { return const_cast<Node&>(std::as_const(*this).At(node)); }

  // Follows `tokens` from the end of `from`, adding the pages passed to `passed`.
  Position Walk(NodeId from, std::span<const int32_t> tokens, std::vector<int32_t>& passed) const;
  // -1 if there is none.
  NodeId FindChild(NodeId parent, std::span<const int32_t> first_page) const;
  uint64_t IndexKey(NodeId parent, std::span<const int32_t> first_page) const;
  std::span<const int32_t> FirstPage(const Node& node) const;

  NodeId NewNode(NodeId parent, std::span<const int32_t> tokens, std::span<const int32_t> pages);
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
  int32_t num_pages_ = 0;
  uint64_t clock_ = 0;
  std::vector<Node> nodes_;
  std::vector<NodeId> unused_;                          // ids of dead nodes
  std::unordered_multimap<uint64_t, NodeId> children_;  // by IndexKey
  std::set<std::pair<uint64_t, NodeId>> evictable_;     // (last use, node)
};

}  // namespace quire
