// A text as characters with their classes: what pre-tokenizer patterns are matched on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/unicode.h"

namespace quire {

// `text` must outlive it. Positions count characters; a broken byte sequence is one character of
// class 0.
class ClassifiedText {
 public:
  explicit ClassifiedText(std::string_view text) : text_(text) {
    begins_.reserve(text.size() + 1);
    classes_.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = DecodeUtf8(text, i);
      begins_.push_back(i);
      classes_.push_back(c.kind == Utf8Kind::kValid ? ClassOf(c.code_point) : 0);
      i += c.length;
    }
    begins_.push_back(text.size());
  }

  size_t size() const { return classes_.size(); }
  bool Is(size_t position, uint8_t classes) const { return (classes_[position] & classes) != 0; }
  // The first byte: the whole character if it is ASCII.
  char FirstByte(size_t position) const { return text_[begins_[position]]; }
  std::string_view Slice(size_t begin, size_t end) const {
    return text_.substr(begins_[begin], begins_[end] - begins_[begin]);
  }

 private:
  std::string_view text_;
  std::vector<size_t> begins_;    // [characters + 1]: byte offsets
  std::vector<uint8_t> classes_;  // [characters]
};

}  // namespace quire
