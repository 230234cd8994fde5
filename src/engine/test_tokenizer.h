// A tokenizer for tests of what comes after the model: token b is the byte b, then come a few
// control tokens. For tests only: no product code includes this.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer.h"

namespace quire {

inline constexpr int32_t kTestEndToken = 256;    // "<|im_end|>", ends a generation
inline constexpr int32_t kTestStartToken = 257;  // "<|im_start|>"
inline constexpr int32_t kTestVocabSize = 258;

// `extra` are further ordinary tokens, of two bytes or more, from kTestVocabSize on.
inline std::unique_ptr<Tokenizer> MakeTestTokenizer(const std::vector<std::string>& extra = {}) {
  std::vector<std::string> names;
  for (int byte = 0; byte < 256; ++byte)
    names.push_back(EncodeByteLevel(static_cast<uint8_t>(byte)));
  names.push_back("<|im_end|>");
  names.push_back("<|im_start|>");
  for (const std::string& bytes : extra) {
    std::string& name = names.emplace_back();
    for (const char c : bytes) name += EncodeByteLevel(static_cast<uint8_t>(c));
  }
  TokenizerSpec spec;
  spec.pre = "gpt-2";
  spec.tokens.assign(names.begin(), names.end());
  spec.types.assign(names.size(), TokenType::kNormal);
  spec.types[kTestEndToken] = TokenType::kControl;
  spec.types[kTestStartToken] = TokenType::kControl;
  spec.eos_id = kTestEndToken;
  auto tokenizer = Tokenizer::Create(spec);
  QUIRE_CHECK(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

// One token per byte.
inline std::vector<int32_t> ByteTokens(std::string_view text) {
  std::vector<int32_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

}  // namespace quire
