// TextStream: the text of one answer, from its tokens as they come. Text that may be the beginning
// of a stop string is held back until it is certain, and a stop string ends the text before itself.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"

namespace quire {

class TextStream {
 public:
  // `stops` are UTF-8, none empty. `silent_tokens`, those that end a generation, give no text.
  // `tokenizer` must outlive this.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops,
             std::vector<int32_t> silent_tokens);

  // Takes the next token and returns the text that is certain now: whole code points, maybe none.
  // When a stop string is complete, its text and all later text is gone, and stopped() is true. Of
  // several stop strings the one that is complete first wins, the longer one if two end together,
  // so the result does not depend on how the text is cut into tokens.
  std::string Append(int32_t token);

  // No token follows: returns what was held back; an unfinished code point becomes U+FFFD.
  std::string Flush();

  bool IsSilent(int32_t token) const;

  bool stopped() const { return stopped_; }

  // Code points returned so far.
  int64_t length() const { return length_; }

  // Where the text of the last appended token begins, in code points of the whole text. If it is
  // not less than length() once stopped(), the token's text was cut away.
  int64_t token_begin() const { return token_begin_; }

 private:
  std::string Take(std::string piece);
  size_t HeldBytes() const;

  Detokenizer detokenizer_;
  std::vector<std::string> stops_;
  std::vector<int32_t> silent_tokens_;  // ascending
  std::string held_;                    // decoded, not yet returned
  int64_t decoded_ = 0;                 // code points decoded, held ones included
  int64_t length_ = 0;
  int64_t token_begin_ = 0;
  bool stopped_ = false;
};

// Code points of valid UTF-8.
int64_t CountCodePoints(std::string_view text);

}  // namespace quire
