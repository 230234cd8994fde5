#include "tokenizer/spm_encoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <queue>

#include "base/check.h"
#include "tokenizer/unicode.h"

namespace quire {

namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

struct Piece {
  uint32_t begin;     // bytes
  uint32_t size;      // bytes
  uint32_t previous;  // indices of the neighbours, or kNone
  uint32_t next;
  int32_t id;         // the token of the piece, if joining made it; else -1
  int32_t joined_id;  // the token of this piece and the next; -1: none
};

// A min-heap of (order of the score, left piece) in one word each.
using JoinQueue = std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<uint64_t>>;

// Smaller for larger scores. REQUIRES: not NaN.
uint32_t ScoreOrder(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes 0
  return bits >> 31 != 0 ? bits : ~bits & 0x7FFFFFFF;
}

// The characters of `text`, one piece each.
std::vector<Piece> CharacterPieces(std::string_view text) {
  std::vector<Piece> pieces;
  pieces.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const uint32_t index = static_cast<uint32_t>(pieces.size());
    const uint8_t size = DecodeUtf8(text, i).length;
    pieces.push_back(
        {static_cast<uint32_t>(i), size, index == 0 ? kNone : index - 1, index + 1, -1, -1});
    i += size;
  }
  if (!pieces.empty()) {
    pieces.back().next = kNone;
  }
  return pieces;
}

}  // namespace

Result<SpmEncoder> SpmEncoder::Create(const TokenTable& tokens, Spec spec) {
  QUIRE_CHECK_EQ(static_cast<int32_t>(spec.scores.size()), tokens.size());
  const auto nan = std::find_if(spec.scores.begin(), spec.scores.end(),
                                [](float score) { return std::isnan(score); });
  if (nan != spec.scores.end()) {
    return CorruptData("tokenizer.ggml.scores[", nan - spec.scores.begin(), "] is not a number");
  }
  const auto missing = std::find(spec.byte_tokens.begin(), spec.byte_tokens.end(), -1);
  if (missing != spec.byte_tokens.end() && spec.unknown_id < 0) {
    return CorruptData("tokenizer.ggml.tokens lacks the token of byte ",
                       missing - spec.byte_tokens.begin(),
                       " and there is no tokenizer.ggml.unknown_token_id to stand in");
  }
  return SpmEncoder(tokens, std::move(spec));
}

void SpmEncoder::Encode(std::string_view text, std::vector<int32_t>* ids) const {
  QUIRE_CHECK_LT(text.size(), size_t{kNone});
  std::vector<Piece> pieces = CharacterPieces(text);
  const auto queued = [&](uint32_t left) {
    const float score = spec_.scores[static_cast<size_t>(pieces[left].joined_id)];
    return uint64_t{ScoreOrder(score)} << 32 | left;
  };
  const auto find_join = [&](uint32_t left) {
    Piece& piece = pieces[left];
    const uint32_t size = piece.next == kNone ? 0 : piece.size + pieces[piece.next].size;
    piece.joined_id = size == 0 ? -1 : tokens_->Find(text.substr(piece.begin, size));
    return piece.joined_id >= 0;
  };
  std::vector<uint64_t> first;
  for (uint32_t i = 0; i < pieces.size(); ++i) {
    if (find_join(i)) {
      first.push_back(queued(i));
    }
  }
  JoinQueue queue(std::greater<uint64_t>(), std::move(first));
  while (!queue.empty()) {
    const uint64_t best = queue.top();
    queue.pop();
    const uint32_t left = static_cast<uint32_t>(best);
    if (pieces[left].joined_id < 0 || queued(left) != best) {
      continue;  // a neighbour was joined since, and with it the pair is another
    }
    Piece& piece = pieces[left];
    Piece& right = pieces[piece.next];
    piece.id = piece.joined_id;
    piece.size += right.size;
    piece.next = right.next;
    right.joined_id = -1;
    if (right.next != kNone) {
      pieces[right.next].previous = left;
    }
    for (const uint32_t changed : {piece.previous, left}) {
      if (changed != kNone && find_join(changed)) {
        queue.push(queued(changed));
      }
    }
  }
  for (uint32_t i = pieces.empty() ? kNone : 0; i != kNone; i = pieces[i].next) {
    AppendPiece(text.substr(pieces[i].begin, pieces[i].size), pieces[i].id, ids);
  }
}

void SpmEncoder::AppendPiece(std::string_view bytes, int32_t id, std::vector<int32_t>* ids) const {
  id = id >= 0 ? id : tokens_->Find(bytes);
  if (id >= 0) {
    ids->push_back(id);
    return;
  }
  for (const char byte : bytes) {
    const int32_t byte_id = spec_.byte_tokens[static_cast<uint8_t>(byte)];
    ids->push_back(byte_id >= 0 ? byte_id : spec_.unknown_id);
  }
}

}  // namespace quire
