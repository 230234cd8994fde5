// Byte pair encoding of one word: the merge rules of a byte-level vocabulary.
//
// Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", as GPT-2
// uses it on bytes. Of all adjacent pairs the one whose rule comes first in the list merges first,
// the leftmost of equals.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/token_table.h"

namespace quire {

// Immutable, so thread-safe.
class BpeEncoder {
 public:
  // `tokens` holds raw bytes and must outlive the encoder. A merge is "left right", each in the
  // byte alphabet (byte_level.h). With `ignore_merges` a word that is a token is that token.
  // Errors: corrupt_data naming tokenizer.ggml.merges and the entry that is malformed or names a
  // token that the vocabulary lacks.
  static Result<BpeEncoder> Create(const TokenTable& tokens,
                                   std::span<const std::string_view> merges, bool ignore_merges);

  // Appends the tokens of `word` to `ids`. A byte for which the vocabulary has no token is left
  // out, as in Hugging Face tokenizers (SmolLM2 lacks ten control characters). Time: O(n log n).
  void EncodeWord(std::string_view word, std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    uint64_t pair = kNoPair;  // left id << 32 | right id
    uint32_t rank = 0;
    int32_t merged = -1;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  BpeEncoder(const TokenTable& tokens, size_t merges, bool ignore_merges);
  Status AddMerge(std::string_view merge, uint32_t rank, std::string* scratch);
  // The rule for the pair, or nullptr. Ids may be -1.
  const Merge* FindMerge(int32_t left, int32_t right) const;
  void EncodeShortWord(std::string_view word, std::vector<int32_t>* ids) const;
  void EncodeLongWord(std::string_view word, std::vector<int32_t>* ids) const;

  const TokenTable* tokens_;
  bool ignore_merges_;
  std::array<int32_t, 256> byte_tokens_;  // -1: no token
  std::vector<Merge> merges_;             // open addressing, a power of two
};

}  // namespace quire
