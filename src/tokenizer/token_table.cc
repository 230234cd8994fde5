#include "tokenizer/token_table.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "base/check.h"

namespace quire {

namespace {

uint64_t Hash(std::string_view bytes) {
  return std::hash<std::string_view>{}(bytes);
}

}  // namespace

TokenTable::TokenTable(size_t tokens, size_t bytes) {
  buffer_.reserve(bytes);
  offsets_.reserve(tokens + 1);
  offsets_.push_back(0);
  slots_.resize(std::bit_ceil(tokens + tokens / 2 + 2));
}

void TokenTable::Add(std::string_view bytes) {
  QUIRE_CHECK_LE(buffer_.size() + bytes.size(), std::numeric_limits<uint32_t>::max());
  buffer_.append(bytes);
  offsets_.push_back(static_cast<uint32_t>(buffer_.size()));
}

int64_t TokenTable::Index(std::span<const int32_t> ids) {
  // Each insertion touches a random cache line; fetching it some insertions ahead halves the load
  // time of a large vocabulary.
  constexpr size_t kAhead = 16;
  uint64_t hashes[kAhead];
  for (size_t i = 0; i < ids.size() + kAhead; ++i) {
    if (i >= kAhead && !Insert(ids[i - kAhead], hashes[i % kAhead])) {
      return static_cast<int64_t>(i - kAhead);
    }
    if (i < ids.size()) {
      hashes[i % kAhead] = Hash(bytes(ids[i]));
      __builtin_prefetch(&slots_[hashes[i % kAhead] & (slots_.size() - 1)], 1);
    }
  }
  return -1;
}

bool TokenTable::Insert(int32_t id, uint64_t hash) {
  const std::string_view wanted = bytes(id);
  if (wanted.empty()) {
    return true;
  }
  const uint32_t tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  for (; slots_[i].id >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && bytes(slots_[i].id) == wanted) {
      return false;
    }
  }
  slots_[i] = {tag, id};
  longest_indexed_ = std::max(longest_indexed_, wanted.size());
  return true;
}

int32_t TokenTable::Find(std::string_view wanted) const {
  if (wanted.size() > longest_indexed_) {
    return -1;
  }
  const uint64_t hash = Hash(wanted);
  const uint32_t tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i].id >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && bytes(slots_[i].id) == wanted) {
      return slots_[i].id;
    }
  }
  return -1;
}

}  // namespace quire
