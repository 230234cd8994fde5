#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

namespace quire {

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops,
                       std::vector<int32_t> silent_tokens)
    : detokenizer_(tokenizer), stops_(std::move(stops)), silent_tokens_(std::move(silent_tokens)) {
  std::sort(silent_tokens_.begin(), silent_tokens_.end());
}

bool TextStream::IsSilent(int32_t token) const {
  return std::binary_search(silent_tokens_.begin(), silent_tokens_.end(), token);
}

std::string TextStream::Append(int32_t token) {
  token_begin_ = decoded_;
  if (stopped_ || IsSilent(token)) return "";
  return Take(detokenizer_.Append(token));
}

std::string TextStream::Flush() {
  std::string text = Take(detokenizer_.Flush());
  if (stopped_) return text;
  length_ += CountCodePoints(held_);
  return text += std::exchange(held_, "");
}

// Adds `piece` to the held text and returns the part that is certain.
std::string TextStream::Take(std::string piece) {
  if (stopped_ || piece.empty()) return "";
  decoded_ += CountCodePoints(piece);
  if (stops_.empty()) {
    length_ = decoded_;
    return piece;
  }
  held_ += piece;
  size_t cut = std::string::npos;
  size_t cut_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (cut == std::string::npos || end < cut_end || (end == cut_end && begin < cut)) {
      cut = begin;
      cut_end = end;
    }
  }
  if (cut != std::string::npos) stopped_ = true;
  const size_t certain = stopped_ ? cut : held_.size() - HeldBytes();
  std::string text = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  length_ += CountCodePoints(text);
  return text;
}

// The longest end of held_ that is a beginning of some stop string.
size_t TextStream::HeldBytes() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t size = std::min(stop.size() - 1, held_.size()); size > longest; --size) {
      if (std::string_view(held_).substr(held_.size() - size) ==
          std::string_view(stop).substr(0, size)) {
        longest = size;
        break;
      }
    }
  }
  return longest;
}

int64_t CountCodePoints(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace quire
