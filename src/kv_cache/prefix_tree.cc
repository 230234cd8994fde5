#include "kv_cache/prefix_tree.h"

#include <algorithm>

#include "base/check.h"

namespace quire {

namespace {

// Tokens in which two histories agree.
int32_t CommonTokens(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t length = std::min(a.size(), b.size());
  const auto [end, unused] = std::mismatch(a.begin(), a.begin() + length, b.begin());
  return static_cast<int32_t>(end - a.begin());
}

uint64_t Mix(uint64_t state, uint64_t value) {
  state = (state ^ value) * 0x9E3779B97F4A7C15u;
  return state ^ (state >> 29);
}

uint64_t IndexKey(PrefixTree::NodeId parent, uint64_t salt, std::span<const int32_t> first) {
  uint64_t key = Mix(Mix(0, salt), static_cast<uint64_t>(parent));
  for (const int32_t token : first) {
    key = Mix(key, static_cast<uint32_t>(token));
  }
  return key;
}

}  // namespace

PrefixTree::PrefixTree(int32_t page_size, EvictionKind eviction, int32_t min_partial)
    : page_size_(page_size), min_partial_(min_partial), policy_(MakeEvictionPolicy(eviction)) {
  QUIRE_CHECK_GE(page_size, 1);
  nodes_.emplace_back().live = true;
}

const PrefixTree::Node& PrefixTree::At(NodeId node) const {
  QUIRE_CHECK_GE(node, 0);
  QUIRE_CHECK_LT(node, static_cast<NodeId>(nodes_.size()));
  QUIRE_CHECK(nodes_[node].live) << "prefix tree node " << node << " is used after its removal";
  return nodes_[node];
}

bool PrefixTree::Held(NodeId node, const char* call) {
  const bool exists = node >= 0 && node < static_cast<NodeId>(nodes_.size()) && nodes_[node].live;
  if (exists && (node == kRoot || nodes_[node].locks > 0)) {
    return true;
  }
  violations_.Report("prefix tree node ", node, " is ", exists ? "not locked" : "gone", " in ",
                     call);
  return false;
}

std::vector<int32_t> PrefixTree::Find(std::span<const int32_t> tokens, uint64_t salt) const {
  return FindFrom(kRoot, tokens, salt);
}

std::vector<int32_t> PrefixTree::FindFrom(NodeId from, std::span<const int32_t> tokens,
                                          uint64_t salt) const {
  std::vector<int32_t> pages;
  Walk(from, salt, tokens, pages);
  return pages;
}

PrefixTree::Partial PrefixTree::FindPartial(std::span<const int32_t> tokens, uint64_t salt) const {
  std::vector<int32_t> pages;
  const Position end = Walk(kRoot, salt, tokens, pages);
  return PartialAt(end, salt, tokens.subspan(pages.size() * page_size_));
}

PrefixTree::Partial PrefixTree::PartialAt(const Position& end, uint64_t salt,
                                          std::span<const int32_t> rest) const {
  if (min_partial_ == 0 || std::cmp_less(rest.size(), min_partial_)) {
    return {};
  }
  NodeId id = end.node;
  size_t index = static_cast<size_t>(end.pages);
  if (index == At(id).pages.size()) {
    const auto child = partial_children_.find(IndexKey(id, salt, rest.first(min_partial_)));
    if (child == partial_children_.end()) {
      return {};
    }
    id = child->second;
    index = 0;
  }
  const Node& node = At(id);
  // An equal hash may be another parent's.
  const bool follows = index > 0 || (node.parent == end.node && node.salt == salt);
  const auto page = std::span(node.tokens).subspan(index * page_size_, page_size_);
  const int32_t common = CommonTokens(page, rest);
  return follows && common >= min_partial_ ? Partial{node.pages[index], common} : Partial{};
}

PrefixTree::Match PrefixTree::FindAndSplit(std::span<const int32_t> tokens, uint64_t salt) {
  Match match;
  const Position end = Walk(kRoot, salt, tokens, match.pages);
  match.partial = PartialAt(end, salt, tokens.subspan(match.pages.size() * page_size_));
  match.node = Split(end.node, end.pages);
  return match;
}

PrefixTree::Inserted PrefixTree::Insert(NodeId from, std::span<const int32_t> tokens,
                                        std::span<const int32_t> pages, uint64_t salt) {
  QUIRE_CHECK_EQ(tokens.size(), pages.size() * page_size_);
  Inserted inserted;
  if (!Held(from, "insert")) {
    return inserted;
  }
  const Position end = Walk(from, salt, tokens, inserted.existing);
  // `from` itself was matched by the caller, whole.
  inserted.node = end.node == from ? from : Split(end.node, end.pages);
  const size_t found = inserted.existing.size();
  if (found == pages.size()) {
    return inserted;
  }
  const auto rest_tokens = tokens.subspan(found * page_size_);
  const auto rest_pages = pages.subspan(found);
  num_pages_ += static_cast<int32_t>(rest_pages.size());
  Node& node = At(inserted.node);
  const bool grows =
      inserted.node == from && from != kRoot && node.num_children == 0 && node.locks == 1;
  if (grows) {
    node.tokens.insert(node.tokens.end(), rest_tokens.begin(), rest_tokens.end());
    node.pages.insert(node.pages.end(), rest_pages.begin(), rest_pages.end());
  } else {
    inserted.node = NewNode(inserted.node, salt, rest_tokens, rest_pages);
  }
  return inserted;
}

PrefixTree::NodeId PrefixTree::AncestorAndSplit(NodeId node, int32_t pages) {
  if (!Held(node, "ancestor")) {
    return kRoot;
  }
  while (node != kRoot && pages >= static_cast<int32_t>(At(node).pages.size())) {
    pages -= static_cast<int32_t>(At(node).pages.size());
    node = At(node).parent;
  }
  return Split(node, static_cast<int32_t>(At(node).pages.size()) - pages);
}

void PrefixTree::Lock(NodeId node) {
  Withdraw(node);
  ++At(node).locks;
  ++At(node).use.uses;
}

void PrefixTree::Unlock(NodeId node, int32_t priority, int64_t expires) {
  if (!Held(node, "unlock") || At(node).locks == 0) {
    return;
  }
  Node& n = At(node);
  --n.locks;
  n.use.Merge({.last_use = ++unlocks_, .priority = priority, .expires = expires}, now_);
  Offer(node);
}

void PrefixTree::AdvanceTo(int64_t now) {
  now_ = std::max(now_, now);
  while (!expiring_.empty() && expiring_.begin()->first <= now_) {
    const NodeId node = expiring_.begin()->second;
    Withdraw(node);
    Offer(node);
  }
}

std::vector<int32_t> PrefixTree::Evict(int32_t count) {
  std::vector<int32_t> evicted;
  while (static_cast<int32_t>(evicted.size()) < count && !evictable_.empty()) {
    const auto [rank, id] = *evictable_.begin();
    policy_->Evicted(rank);
    Node& node = At(id);
    const size_t wanted = static_cast<size_t>(count) - evicted.size();
    const size_t kept = node.pages.size() - std::min(node.pages.size(), wanted);
    evicted.insert(evicted.end(), node.pages.rbegin(),
                   node.pages.rend() - static_cast<ptrdiff_t>(kept));
    num_pages_ -= static_cast<int32_t>(node.pages.size() - kept);
    if (kept == 0) {
      RemoveLeaf(id);
    } else {
      node.pages.resize(kept);
      node.tokens.resize(kept * page_size_);
    }
  }
  return evicted;
}

std::vector<int32_t> PrefixTree::PathPages(NodeId node) const {
  std::vector<NodeId> path;
  for (NodeId id = node; id != kRoot; id = At(id).parent) {
    path.push_back(id);
  }
  std::vector<int32_t> pages;
  for (auto id = path.rbegin(); id != path.rend(); ++id) {
    pages.insert(pages.end(), At(*id).pages.begin(), At(*id).pages.end());
  }
  return pages;
}

PrefixTree::Position PrefixTree::Walk(NodeId from, uint64_t salt, std::span<const int32_t> tokens,
                                      std::vector<int32_t>& passed) const {
  Position position{from, static_cast<int32_t>(At(from).pages.size())};
  passed.reserve(tokens.size() / static_cast<size_t>(page_size_));
  while (tokens.size() >= static_cast<size_t>(page_size_)) {
    const NodeId child = FindChild(position.node, salt, tokens.first(page_size_));
    if (child < 0) {
      break;
    }
    const Node& node = At(child);
    const int32_t common = CommonTokens(node.tokens, tokens) / page_size_;
    passed.insert(passed.end(), node.pages.begin(), node.pages.begin() + common);
    position = {child, common};
    if (common < static_cast<int32_t>(node.pages.size())) {
      break;
    }
    tokens = tokens.subspan(static_cast<size_t>(common) * page_size_);
  }
  return position;
}

PrefixTree::NodeId PrefixTree::FindChild(NodeId parent, uint64_t salt,
                                         std::span<const int32_t> first_page) const {
  const uint64_t key = IndexKey(parent, salt, first_page);
  // Equal keys lie side by side. The range's end, which costs as much, is rarely needed.
  for (auto it = children_.find(key); it != children_.end() && it->first == key; ++it) {
    const Node& child = At(it->second);
    if (child.parent == parent && child.salt == salt &&
        std::ranges::equal(FirstPage(child), first_page)) {
      return it->second;
    }
  }
  return -1;
}

std::span<const int32_t> PrefixTree::FirstPage(const Node& node) const {
  return std::span(node.tokens).first(page_size_);
}

PrefixTree::NodeId PrefixTree::NewNode(NodeId parent, uint64_t salt,
                                       std::span<const int32_t> tokens,
                                       std::span<const int32_t> pages) {
  Node node;
  node.tokens.assign(tokens.begin(), tokens.end());
  node.pages.assign(pages.begin(), pages.end());
  node.parent = parent;
  node.salt = salt;
  node.live = true;
  NodeId id = static_cast<NodeId>(nodes_.size());
  if (unused_.empty()) {
    nodes_.push_back(std::move(node));
  } else {
    id = unused_.back();
    unused_.pop_back();
    nodes_[id] = std::move(node);
  }
  Withdraw(parent);
  ++At(parent).num_children;
  Link(id);
  Offer(id);
  return id;
}

void PrefixTree::RemoveLeaf(NodeId node) {
  Withdraw(node);
  Unlink(node);
  const NodeId parent = At(node).parent;
  --At(parent).num_children;
  At(parent).use.Merge(At(node).use, now_);
  nodes_[node] = Node{};
  unused_.push_back(node);
  Offer(parent);
}

void PrefixTree::Link(NodeId node) {
  const Node& n = At(node);
  children_.emplace(IndexKey(n.parent, n.salt, FirstPage(n)), node);
  if (min_partial_ > 0) {
    partial_children_[IndexKey(n.parent, n.salt, FirstPage(n).first(min_partial_))] = node;
  }
}

void PrefixTree::Unlink(NodeId node) {
  const Node& n = At(node);
  const auto [begin, end] = children_.equal_range(IndexKey(n.parent, n.salt, FirstPage(n)));
  const auto it =
      std::find_if(begin, end, [node](const auto& entry) { return entry.second == node; });
  QUIRE_CHECK(it != end) << "prefix tree node " << node << " is not in the index";
  children_.erase(it);
  if (min_partial_ == 0) {
    return;
  }
  const auto partial =
      partial_children_.find(IndexKey(n.parent, n.salt, FirstPage(n).first(min_partial_)));
  if (partial != partial_children_.end() && partial->second == node) {
    partial_children_.erase(partial);
  }
}

PrefixTree::NodeId PrefixTree::Split(NodeId node, int32_t pages) {
  const size_t cut = static_cast<size_t>(pages);
  if (cut == At(node).pages.size()) {
    return node;
  }
  Withdraw(node);
  Unlink(node);
  // The node keeps its id for the second part: whoever locked it locked its end.
  const std::vector<int32_t> tokens = std::move(At(node).tokens);
  const std::vector<int32_t> all_pages = std::move(At(node).pages);
  const NodeId parent = At(node).parent;
  const NodeId upper = NewNode(parent, At(node).salt, std::span(tokens).first(cut * page_size_),
                               std::span(all_pages).first(cut));
  Node& lower = At(node);
  lower.tokens.assign(tokens.begin() + static_cast<ptrdiff_t>(cut) * page_size_, tokens.end());
  lower.pages.assign(all_pages.begin() + pages, all_pages.end());
  lower.parent = upper;
  Withdraw(upper);
  At(upper).num_children = 1;
  At(upper).use.last_use = lower.use.last_use;  // the rest follows when the lower part goes
  --At(parent).num_children;                    // the new node took the old one's place
  Link(node);
  Offer(node);
  return upper;
}

bool PrefixTree::Evictable(NodeId node) const {
  const Node& n = At(node);
  return node != kRoot && n.num_children == 0 && n.locks == 0;
}

void PrefixTree::Withdraw(NodeId node) {
  const Node& n = At(node);
  evictable_.erase({n.rank, node});
  expiring_.erase({n.use.expires, node});
}

void PrefixTree::Offer(NodeId node) {
  if (!Evictable(node)) {
    return;
  }
  Node& n = At(node);
  n.use.ExpireAt(now_);
  n.rank = policy_->RankOf(n.use);
  evictable_.emplace(n.rank, node);
  if (n.use.expires != PageUse::kNever) {
    expiring_.emplace(n.use.expires, node);
  }
}

Status PrefixTree::CheckNode(NodeId id) const {
  const Node& node = nodes_[id];
  if (node.tokens.size() != node.pages.size() * page_size_ || node.pages.empty() != (id == kRoot)) {
    return InternalError("prefix tree: node ", id, " has ", node.tokens.size(), " tokens in ",
                         node.pages.size(), " pages of ", page_size_);
  }
  if (evictable_.contains({node.rank, id}) != Evictable(id)) {
    return InternalError("prefix tree: node ", id, " with ", node.locks, " locks and ",
                         node.num_children, " children is wrong in the eviction order");
  }
  if (id != kRoot && FindChild(node.parent, node.salt, FirstPage(node)) != id) {
    return InternalError("prefix tree: node ", id, " is not found under its parent ", node.parent);
  }
  return OkStatus();
}

Status PrefixTree::CheckInvariants() const {
  std::vector<int32_t> children(nodes_.size(), 0);
  size_t live = 0;
  size_t evictable = 0;
  int32_t pages = 0;
  for (NodeId id = 0; id < static_cast<NodeId>(nodes_.size()); ++id) {
    if (!nodes_[id].live) {
      continue;
    }
    QUIRE_RETURN_IF_ERROR(CheckNode(id));
    ++live;
    evictable += Evictable(id) ? 1 : 0;
    pages += static_cast<int32_t>(nodes_[id].pages.size());
    if (id != kRoot) {
      ++children[nodes_[id].parent];
    }
  }
  if (expiring_.size() > evictable) {
    return InternalError("prefix tree: ", expiring_.size(), " nodes expire, ", evictable,
                         " may go");
  }
  if (live + unused_.size() != nodes_.size() || children_.size() != live - 1 ||
      pages != num_pages_ || evictable_.size() != evictable) {
    return InternalError("prefix tree: ", live, " nodes, ", children_.size(), " index entries, ",
                         pages, " pages found, ", num_pages_, " counted");
  }
  for (NodeId id = 0; id < static_cast<NodeId>(nodes_.size()); ++id) {
    if (children[id] != nodes_[id].num_children) {
      return InternalError("prefix tree: node ", id, " counts ", nodes_[id].num_children,
                           " children, has ", children[id]);
    }
  }
  return OkStatus();
}

}  // namespace quire
