#include "tokenizer/bpe_encoder.h"

#include <bit>
#include <functional>
#include <limits>
#include <queue>
#include <string>

#include "base/check.h"
#include "tokenizer/byte_level.h"

namespace quire {

namespace {

// Up to this length looking through all pairs for the next merge is faster than a heap.
constexpr size_t kShortWord = 32;
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Spreads the key over the table (the finalizer of MurmurHash3).
uint64_t Mix(uint64_t key) {
  key ^= key >> 33;
  key *= 0xFF51AFD7ED558CCDu;
  key ^= key >> 33;
  key *= 0xC4CEB9FE1A85EC53u;
  return key ^ key >> 33;
}

}  // namespace

BpeEncoder::BpeEncoder(const TokenTable& tokens, size_t merges, bool ignore_merges)
    : tokens_(&tokens), ignore_merges_(ignore_merges), merges_(std::bit_ceil(merges * 2 + 2)) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_tokens_[byte] = tokens.Find({&c, 1});
  }
}

Result<BpeEncoder> BpeEncoder::Create(const TokenTable& tokens,
                                      std::span<const std::string_view> merges,
                                      bool ignore_merges) {
  QUIRE_CHECK_LT(merges.size(), kNoRank);
  BpeEncoder encoder(tokens, merges.size(), ignore_merges);
  std::string scratch;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    QUIRE_RETURN_IF_ERROR(encoder.AddMerge(merges[rank], static_cast<uint32_t>(rank), &scratch));
  }
  return encoder;
}

Status BpeEncoder::AddMerge(std::string_view merge, uint32_t rank, std::string* scratch) {
  const auto broken = [&](std::string_view why) {
    return CorruptData("tokenizer.ggml.merges[", rank, "] '", merge, "' ", why);
  };
  const size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size()) {
    return broken("is not two tokens with a space between");
  }
  scratch->clear();
  if (!DecodeByteLevel(merge.substr(0, space), scratch)) {
    return broken("holds a character outside the byte alphabet");
  }
  const size_t left_size = scratch->size();
  if (!DecodeByteLevel(merge.substr(space + 1), scratch)) {
    return broken("holds a character outside the byte alphabet");
  }
  const std::string_view merged_bytes = *scratch;
  const int32_t left = tokens_->Find(merged_bytes.substr(0, left_size));
  const int32_t right = tokens_->Find(merged_bytes.substr(left_size));
  const int32_t merged = tokens_->Find(merged_bytes);
  if (left < 0 || right < 0 || merged < 0) {
    return broken("joins or makes a token that tokenizer.ggml.tokens lacks");
  }
  const uint64_t pair = PairKey(left, right);
  const size_t mask = merges_.size() - 1;
  size_t i = Mix(pair) & mask;
  for (; merges_[i].pair != kNoPair; i = (i + 1) & mask) {
    if (merges_[i].pair == pair) {
      return OkStatus();  // the earlier rule wins
    }
  }
  merges_[i] = {pair, rank, merged};
  return OkStatus();
}

const BpeEncoder::Merge* BpeEncoder::FindMerge(int32_t left, int32_t right) const {
  if (left < 0 || right < 0) {
    return nullptr;
  }
  const uint64_t pair = PairKey(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t i = Mix(pair) & mask; merges_[i].pair != kNoPair; i = (i + 1) & mask) {
    if (merges_[i].pair == pair) {
      return &merges_[i];
    }
  }
  return nullptr;
}

void BpeEncoder::EncodeWord(std::string_view word, std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const int32_t id = tokens_->Find(word); id >= 0) {
      ids->push_back(id);
      return;
    }
  }
  if (word.size() <= kShortWord) {
    EncodeShortWord(word, ids);
  } else {
    EncodeLongWord(word, ids);
  }
}

void BpeEncoder::EncodeShortWord(std::string_view word, std::vector<int32_t>* ids) const {
  int32_t symbols[kShortWord];
  const Merge* rules[kShortWord];  // rules[i] joins symbols i and i + 1
  size_t size = word.size();
  for (size_t i = 0; i < size; ++i) {
    symbols[i] = byte_tokens_[static_cast<uint8_t>(word[i])];
  }
  for (size_t i = 0; i + 1 < size; ++i) {
    rules[i] = FindMerge(symbols[i], symbols[i + 1]);
  }
  while (size > 1) {
    size_t best = size;
    uint32_t best_rank = kNoRank;
    for (size_t i = 0; i + 1 < size; ++i) {
      if (rules[i] != nullptr && rules[i]->rank < best_rank) {
        best = i;
        best_rank = rules[i]->rank;
      }
    }
    if (best == size) {
      break;
    }
    symbols[best] = rules[best]->merged;
    for (size_t i = best + 1; i + 1 < size; ++i) {
      symbols[i] = symbols[i + 1];
      rules[i - 1] = rules[i];
    }
    --size;
    if (best > 0) {
      rules[best - 1] = FindMerge(symbols[best - 1], symbols[best]);
    }
    if (best + 1 < size) {
      rules[best] = FindMerge(symbols[best], symbols[best + 1]);
    }
  }
  for (size_t i = 0; i < size; ++i) {
    if (symbols[i] >= 0) {
      ids->push_back(symbols[i]);
    }
  }
}

namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

// A min-heap of (rank, left symbol) in one word each: the best rule first, the leftmost of equals.
using MergeQueue = std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<uint64_t>>;

}  // namespace

void BpeEncoder::EncodeLongWord(std::string_view word, std::vector<int32_t>* ids) const {
  QUIRE_CHECK_LT(word.size(), size_t{kNone});
  struct Symbol {
    int32_t id;
    uint32_t previous;  // indices of the neighbours, or kNone
    uint32_t next;
    const Merge* rule;  // joins this symbol and the next; nullptr: none
  };
  const uint32_t size = static_cast<uint32_t>(word.size());
  std::vector<Symbol> symbols(size);
  for (uint32_t i = 0; i < size; ++i) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(word[i])];
    symbols[i] = {id, i == 0 ? kNone : i - 1, i + 1 == size ? kNone : i + 1, nullptr};
  }
  const auto queued = [&](uint32_t left) {
    return uint64_t{symbols[left].rule->rank} << 32 | left;
  };
  const auto find_rule = [&](uint32_t left) {
    const uint32_t next = symbols[left].next;
    symbols[left].rule = next == kNone ? nullptr : FindMerge(symbols[left].id, symbols[next].id);
    return symbols[left].rule != nullptr;
  };
  std::vector<uint64_t> first;
  first.reserve(size);
  for (uint32_t i = 0; i < size; ++i) {
    if (find_rule(i)) {
      first.push_back(queued(i));
    }
  }
  MergeQueue queue(std::greater<uint64_t>(), std::move(first));
  while (!queue.empty()) {
    const uint64_t best = queue.top();
    queue.pop();
    const uint32_t left = static_cast<uint32_t>(best);
    if (symbols[left].rule == nullptr || queued(left) != best) {
      continue;  // a neighbour merged since, and with it the pair is another
    }
    Symbol& right = symbols[symbols[left].next];
    symbols[left].id = symbols[left].rule->merged;
    symbols[left].next = right.next;
    right.rule = nullptr;
    if (right.next != kNone) {
      symbols[right.next].previous = left;
    }
    for (const uint32_t changed : {symbols[left].previous, left}) {
      if (changed != kNone && find_rule(changed)) {
        queue.push(queued(changed));
      }
    }
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) {
    if (symbols[i].id >= 0) {
      ids->push_back(symbols[i].id);
    }
  }
}

}  // namespace quire
