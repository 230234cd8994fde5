#include "tokenizer/special_tokens.h"

#include <algorithm>

namespace quire {

SpecialTokens::SpecialTokens(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const Token& token) { return token.text.empty(); });
  std::sort(tokens_.begin(), tokens_.end(), [](const Token& a, const Token& b) {
    return a.text != b.text ? a.text < b.text : a.id < b.id;
  });
  const auto same = [](const Token& a, const Token& b) { return a.text == b.text; };
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(), same), tokens_.end());
  for (const Token& token : tokens_) {
    ++first_byte_[static_cast<uint8_t>(token.text[0]) + 1];
  }
  for (size_t b = 1; b < first_byte_.size(); ++b) {
    first_byte_[b] += first_byte_[b - 1];
  }
}

SpecialTokens::Match SpecialTokens::FindFirst(std::string_view text, size_t from) const {
  for (size_t i = from; i < text.size(); ++i) {
    const uint8_t byte = static_cast<uint8_t>(text[i]);
    if (first_byte_[byte] == first_byte_[byte + 1]) {
      continue;
    }
    if (const int64_t found = LongestPrefix(text.substr(i)); found >= 0) {
      const Token& token = tokens_[static_cast<size_t>(found)];
      return {i, i + token.text.size(), token.id};
    }
  }
  return {text.size(), text.size(), -1};
}

int64_t SpecialTokens::LongestPrefix(std::string_view text) const {
  const uint8_t first = static_cast<uint8_t>(text[0]);
  size_t low = first_byte_[first];
  size_t high = first_byte_[first + 1];
  int64_t longest = -1;
  // tokens_[low, high) share the first `depth` bytes with `text`; the one that ends there sorts
  // first.
  for (size_t depth = 1; low < high; ++depth) {
    if (tokens_[low].text.size() == depth) {
      longest = static_cast<int64_t>(low++);
    }
    if (depth == text.size()) {
      break;
    }
    const uint8_t next = static_cast<uint8_t>(text[depth]);
    const auto byte_of = [depth](const Token& t) { return static_cast<uint8_t>(t.text[depth]); };
    const auto begin = tokens_.begin() + static_cast<int64_t>(low);
    const auto end = tokens_.begin() + static_cast<int64_t>(high);
    const auto first_match =
        std::partition_point(begin, end, [&](const Token& t) { return byte_of(t) < next; });
    const auto last_match =
        std::partition_point(first_match, end, [&](const Token& t) { return byte_of(t) == next; });
    low = static_cast<size_t>(first_match - tokens_.begin());
    high = static_cast<size_t>(last_match - tokens_.begin());
  }
  return longest;
}

}  // namespace quire
