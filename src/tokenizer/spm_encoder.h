// sentencepiece's BPE: adjacent pieces join while their union is in the vocabulary, best score
// first.
//
// Source: Kudo and Richardson, "SentencePiece" (2018), model type BPE; the Llama 2 and Gemma
// vocabularies.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/token_table.h"

namespace quire {

// Immutable, so thread-safe.
class SpmEncoder {
 public:
  struct Spec {
    std::vector<float> scores;             // [tokens]
    std::array<int32_t, 256> byte_tokens;  // <0x00> ... <0xFF>; -1: none
    int32_t unknown_id = -1;               // for bytes without a token; -1: none
  };

  // `tokens` holds pieces with spaces in place of U+2581 and must outlive the encoder.
  // Errors: corrupt_data if a score is not a number, or some byte has neither a token nor an
  // unknown token to stand in.
  static Result<SpmEncoder> Create(const TokenTable& tokens, Spec spec);

  // Appends the tokens of `text`, whose U+2581 have become spaces, to `ids`. Characters that no
  // piece covers become byte tokens, invalid UTF-8 too. Time: O(n log n). REQUIRES: text.size() <
  // 2^32.
  void Encode(std::string_view text, std::vector<int32_t>* ids) const;

 private:
  SpmEncoder(const TokenTable& tokens, Spec spec) : tokens_(&tokens), spec_(std::move(spec)) {}

  // Appends a piece: its token `id`, or if that is -1 the one of its bytes, or byte tokens.
  void AppendPiece(std::string_view bytes, int32_t id, std::vector<int32_t>* ids) const;

  const TokenTable* tokens_;
  Spec spec_;
};

}  // namespace quire
