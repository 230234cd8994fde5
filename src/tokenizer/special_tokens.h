// Finds the special tokens of a text before anything else looks at it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quire {

// A set of literal strings, matched leftmost and then longest: what Hugging Face tokenizers and
// sentencepiece do with added and user-defined tokens. Immutable, so thread-safe.
class SpecialTokens {
 public:
  struct Token {
    std::string_view text;  // must outlive the set
    int32_t id;
  };
  struct Match {
    size_t begin;
    size_t end;  // begin == end: nothing found
    int32_t id;
  };

  SpecialTokens() = default;
  // Empty texts never match; of equal texts the lowest id wins.
  explicit SpecialTokens(std::vector<Token> tokens);

  // The first match at or after byte `from`. Time: one table look-up per byte where no token
  // starts.
  Match FindFirst(std::string_view text, size_t from) const;

 private:
  // The longest token that `text` starts with, as an index into tokens_, or -1.
  int64_t LongestPrefix(std::string_view text) const;

  std::vector<Token> tokens_;  // by text, ascending
  std::array<uint32_t, 257>
      first_byte_{};  // tokens whose first byte is b: [first_byte_[b], first_byte_[b + 1])
};

}  // namespace quire
