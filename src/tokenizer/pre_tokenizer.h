// Splits text into the words that byte-level BPE merges within.
//
// Each model family fixed a regular expression when its vocabulary was trained; a GGUF names it in
// tokenizer.ggml.pre. The expressions are matched by hand over Unicode classes. Sources: the
// tokenizer.json files of GPT-2, SmolLM2, Llama 3, Qwen2 and Qwen3.5, Falcon; the names are
// llama.cpp's.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace quire {

// Immutable, so thread-safe.
class PreTokenizer {
 public:
  // What a name in tokenizer.ggml.pre says, beyond the expression.
  struct Traits {
    bool ignore_merges;  // a word that is a token as a whole is that token, whatever the merges say
    bool add_bos;        // if the file does not say tokenizer.ggml.add_bos_token
  };

  // Errors: unsupported, naming `name` and the known names.
  static Result<PreTokenizer> FromName(std::string_view name);

  const Traits& traits() const { return traits_; }

  // Appends the words of `text` to `words`; together they are `text`. Bytes that are not UTF-8
  // count as symbols and are kept.
  void Split(std::string_view text, std::vector<std::string_view>* words) const;

  // One expression; pre_tokenizer.cc spells each out.
  enum class Stage {
    kDigit,
    kDigitRun,
    kThreeDigits,
    kPunctuationRun,
    kPunctuationOrTickRun,
    kGpt2,
    kLlama3,
    kQwen2,
    kQwen35,
  };

 private:
  PreTokenizer(std::span<const Stage> stages, Traits traits) : stages_(stages), traits_(traits) {}

  std::span<const Stage> stages_;  // static; each splits the words of the one before
  Traits traits_;
};

}  // namespace quire
