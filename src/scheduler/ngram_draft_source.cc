#include "scheduler/ngram_draft_source.h"

#include <algorithm>

namespace quire {

void NgramDraftSource::Propose(std::span<DraftQuery> queries) {
  for (DraftQuery& query : queries) {
    Index& index = indices_[query.id];
    index.Extend(query.tokens);
    const int32_t found = index.Find(query.tokens);
    const auto end = static_cast<int32_t>(query.tokens.size());
    for (int32_t i = 0; found >= 0 && i < query.most; ++i) {
      const int32_t from = found + i;
      query.drafts.push_back(from < end ? query.tokens[from] : query.drafts[from - end]);
    }
  }
}

void NgramDraftSource::Index::Extend(std::span<const int32_t> tokens) {
  // The last n-gram has no token behind it yet.
  for (const auto end = static_cast<int32_t>(tokens.size()) - kTokens; indexed_ < end; ++indexed_) {
    if (2 * (used_ + 1) > static_cast<int32_t>(table_.size())) {
      Grow(tokens);
    }
    int32_t& place = table_[PlaceOf(tokens, indexed_)];
    used_ += place < 0 ? 1 : 0;
    place = indexed_;
  }
}

int32_t NgramDraftSource::Index::Find(std::span<const int32_t> tokens) const {
  const auto last = static_cast<int32_t>(tokens.size()) - kTokens;
  if (last < 0 || table_.empty()) {
    return -1;
  }
  const int32_t start = table_[PlaceOf(tokens, last)];
  return start < 0 ? -1 : start + kTokens;
}

size_t NgramDraftSource::Index::PlaceOf(std::span<const int32_t> tokens, int32_t start) const {
  const auto ngram = tokens.subspan(start, kTokens);
  uint64_t hash = 0;
  for (const int32_t token : ngram) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  size_t place = hash & (table_.size() - 1);
  while (table_[place] >= 0 && !std::ranges::equal(ngram, tokens.subspan(table_[place], kTokens))) {
    place = (place + 1) & (table_.size() - 1);
  }
  return place;
}

void NgramDraftSource::Index::Grow(std::span<const int32_t> tokens) {
  const std::vector<int32_t> old = std::move(table_);
  table_.assign(std::max<size_t>(64, 2 * old.size()), -1);
  for (const int32_t start : old) {
    if (start >= 0) {
      table_[PlaceOf(tokens, start)] = start;
    }
  }
}

}  // namespace quire
