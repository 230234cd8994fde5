#include "tokenizer/detokenizer.h"

#include "base/check.h"
#include "tokenizer/unicode.h"

namespace quire {

std::string Detokenizer::Append(int32_t id) {
  QUIRE_CHECK(id >= 0 && id < tokenizer_->vocab_size()) << "token " << id;
  if (options_.skip_special && tokenizer_->IsSpecial(id)) {
    return {};
  }
  std::string_view piece = tokenizer_->TokenPiece(id);
  if (drop_space_ && !tokenizer_->IsSpecial(id) && !piece.empty()) {
    drop_space_ = false;
    piece.remove_prefix(piece[0] == ' ' ? 1 : 0);
  }
  const std::string bytes = StrCat(held_, piece);
  held_.clear();
  return RepairUtf8(bytes, &held_);
}

std::string Detokenizer::Flush() {
  std::string out = RepairUtf8(held_);
  held_.clear();
  drop_space_ = false;
  return out;
}

}  // namespace quire
