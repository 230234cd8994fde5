// NgramDraftSource: what followed the last three tokens when they last stood together in the
// request.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "scheduler/draft_source.h"

namespace quire {

// Prompt lookup decoding (Saxena, 2023): answers that quote their prompt or themselves (code,
// summaries, lists) follow what is written there. If the text there ends, it is taken to repeat.
// Keeps a hash table of 8 to 16 bytes for each token of a request. A proposal costs O(1) and the
// tokens that are new since the last one.
class NgramDraftSource final : public DraftSource {
 public:
  static constexpr int32_t kTokens = 3;  // of an n-gram

  void Propose(std::span<DraftQuery> queries) override;
  void Forget(uint64_t id) override { indices_.erase(id); }

 private:
  // Where each n-gram of a text stands last, of those that a token follows.
  class Index {
   public:
    // Takes in the n-grams that `tokens`, which continue those of the last call, add.
    void Extend(std::span<const int32_t> tokens);
    // The position behind the last earlier place of the n-gram that `tokens` end with; -1 if none.
    int32_t Find(std::span<const int32_t> tokens) const;

   private:
    size_t PlaceOf(std::span<const int32_t> tokens, int32_t start) const;
    void Grow(std::span<const int32_t> tokens);

    std::vector<int32_t> table_;  // open addressing; the start of an n-gram or -1
    int32_t indexed_ = 0;         // n-grams that start before this are in
    int32_t used_ = 0;
  };

  std::unordered_map<uint64_t, Index> indices_;  // by request
};

}  // namespace quire
