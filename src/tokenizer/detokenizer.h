// Token ids to text as they arrive, in whole UTF-8 characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace quire {

struct DetokenizerOptions {
  // Leave control and unknown tokens (Tokenizer::IsSpecial) out of the text.
  bool skip_special = true;
  // The tokens begin a text, so the space that a sentencepiece model put before it is dropped. Not
  // for the continuation of a prompt.
  bool begins_text = false;
};

// One text in the making; one thread at a time. The texts that Append returns and the one of Flush,
// joined, are the whole decoded text: valid UTF-8, in which each maximal broken part of the tokens'
// bytes is one U+FFFD. No piece ends inside a code point.
class Detokenizer {
 public:
  // `tokenizer` must outlive it.
  explicit Detokenizer(const Tokenizer& tokenizer, const DetokenizerOptions& options = {})
      : tokenizer_(&tokenizer),
        options_(options),
        drop_space_(options.begins_text && tokenizer.adds_space_prefix()) {}

  // The text that token `id` completes; bytes of an unfinished character are held back (at most
  // three). REQUIRES: 0 <= id < vocab_size().
  std::string Append(int32_t id);

  // What is still held back, as U+FFFD, at the end. The detokenizer is then as new but keeps its
  // place in the text: no space is dropped any more.
  std::string Flush();

  // Whether Flush would return text.
  bool holds_back() const { return !held_.empty(); }

 private:
  const Tokenizer* tokenizer_;
  DetokenizerOptions options_;
  bool drop_space_;   // until the first piece of text
  std::string held_;  // the first bytes of a character
};

}  // namespace quire
