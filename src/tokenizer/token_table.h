// The bytes of every token of a vocabulary, and the way back from bytes to the token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// All bytes lie in one buffer and the index is one flat open-addressing table, so that a vocabulary
// of 262,144 tokens is ready in milliseconds. Reading is thread-safe; Add and Index are not.
class TokenTable {
 public:
  // Room for `tokens` tokens of `bytes` bytes in all.
  TokenTable(size_t tokens, size_t bytes);

  // Adds the next token, whose id is the number of tokens added before, without making it findable.
  // REQUIRES: less than 2^31 tokens and 2^32 bytes in all.
  void Add(std::string_view bytes);

  // Makes the tokens `ids` findable by their bytes, except empty ones. Returns the place in `ids`
  // of the first whose bytes were findable already, or -1; the rest is then left out. REQUIRES: at
  // most the constructor's `tokens` ids over all calls.
  int64_t Index(std::span<const int32_t> ids);

  // The findable token of exactly these bytes, or -1.
  int32_t Find(std::string_view bytes) const;

  // REQUIRES: 0 <= id < size(). Valid while the table lives and nothing is added.
  std::string_view bytes(int32_t id) const {
    const size_t begin = offsets_[static_cast<size_t>(id)];
    return {buffer_.data() + begin, offsets_[static_cast<size_t>(id) + 1] - begin};
  }

  int32_t size() const { return static_cast<int32_t>(offsets_.size() - 1); }
  size_t longest_indexed() const { return longest_indexed_; }  // bytes

 private:
  struct Slot {
    uint32_t tag = 0;  // upper bits of the hash: most misses end without reading the buffer
    int32_t id = -1;
  };

  // Puts `id` into the slots. False if its bytes are there.
  bool Insert(int32_t id, uint64_t hash);

  std::string buffer_;
  std::vector<uint32_t> offsets_;  // [tokens + 1]
  std::vector<Slot> slots_;        // a power of two, at least 1.5 times the tokens
  size_t longest_indexed_ = 0;
};

}  // namespace quire
