#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/end_tokens.h"

namespace quire {

namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, sentencepiece's space

// Appends `text` with every U+2581 as a space to `out`.
void AppendUnescaped(std::string_view text, std::string* out) {
  for (size_t i = 0; i < text.size();) {
    const size_t mark = std::min(text.find(kSpaceMark, i), text.size());
    out->append(text, i, mark - i);
    if (mark == text.size()) {
      return;
    }
    out->push_back(' ');
    i = mark + kSpaceMark.size();
  }
}

// The byte of "<0xXX>", or -1.
int ByteOfName(std::string_view name) {
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') {
    return -1;
  }
  int byte = -1;
  const auto [end, error] = std::from_chars(name.data() + 3, name.data() + 5, byte, 16);
  return error == std::errc() && end == name.data() + 5 ? byte : -1;
}

bool IsEndTokenName(std::string_view name) {
  constexpr std::string_view kFirstBytes =
      "<[_";  // spares most of a large vocabulary the comparisons
  return !name.empty() && kFirstBytes.find(name[0]) != std::string_view::npos &&
         std::find(std::begin(kEndTokenNames), std::end(kEndTokenNames), name) !=
             std::end(kEndTokenNames);
}

Status CheckCounts(const TokenizerSpec& spec) {
  const size_t tokens = spec.tokens.size();
  const auto check = [&](std::string_view key, size_t count) {
    return count == tokens
               ? OkStatus()
               : CorruptData(key, " has ", count, " entries, tokenizer.ggml.tokens has ", tokens,
                             "; they must be as many");
  };
  if (tokens == 0) {
    return CorruptData("tokenizer.ggml.tokens is empty");
  }
  if (tokens > (size_t{1} << 30)) {
    return CorruptData("tokenizer.ggml.tokens has ", tokens, " entries; the most is 2^30");
  }
  if (!spec.types.empty()) {
    QUIRE_RETURN_IF_ERROR(check("tokenizer.ggml.token_type", spec.types.size()));
  }
  if (spec.model == TokenizerSpec::Model::kSentencePiece) {
    QUIRE_RETURN_IF_ERROR(check("tokenizer.ggml.scores", spec.scores.size()));
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::Create(const TokenizerSpec& spec) {
  QUIRE_RETURN_IF_ERROR(CheckCounts(spec));
  size_t bytes = 0;
  for (const std::string_view token : spec.tokens) {
    bytes += token.size();
  }
  if (bytes >= (size_t{1} << 32)) {
    return CorruptData("tokenizer.ggml.tokens hold ", bytes, " bytes; the most is 2^32");
  }
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(spec.tokens.size(), bytes));
  QUIRE_RETURN_IF_ERROR(tokenizer->AddTokens(spec));
  QUIRE_RETURN_IF_ERROR(tokenizer->SetSpecialIds(spec));
  tokenizer->IndexSpecialTokens();
  if (spec.model == TokenizerSpec::Model::kByteLevelBpe) {
    QUIRE_RETURN_IF_ERROR(tokenizer->MakeBpe(spec));
  } else {
    QUIRE_RETURN_IF_ERROR(tokenizer->MakeSentencePiece(spec));
  }
  if (tokenizer->add_bos_ && tokenizer->bos_id_ < 0) {
    return NotFound("tokenizer.ggml.bos_token_id is missing, but texts must begin with that token");
  }
  if (tokenizer->end_ids_.empty()) {
    return NotFound(
        "tokenizer.ggml.eos_token_id is missing and no token has a name that ends a text");
  }
  return tokenizer;
}

Status Tokenizer::AddTokens(const TokenizerSpec& spec) {
  byte_tokens_.fill(-1);
  types_.resize(spec.tokens.size(), TokenType::kNormal);
  std::copy(spec.types.begin(), spec.types.end(), types_.begin());
  std::string piece;
  std::vector<int32_t> findable;
  findable.reserve(spec.tokens.size());
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    QUIRE_RETURN_IF_ERROR(AddToken(spec, i, &piece, &findable));
  }
  if (const int64_t repeated = tokens_.Index(findable); repeated >= 0) {
    const int32_t id = findable[static_cast<size_t>(repeated)];
    return CorruptData("tokenizer.ggml.tokens[", id, "] '", spec.tokens[static_cast<size_t>(id)],
                       "' repeats token ", tokens_.Find(TokenPiece(id)));
  }
  return OkStatus();
}

Status Tokenizer::AddToken(const TokenizerSpec& spec, size_t index, std::string* piece,
                           std::vector<int32_t>* findable) {
  const std::string_view name = spec.tokens[index];
  const int32_t id = static_cast<int32_t>(index);
  TokenType& type = types_[index];
  if (IsEndTokenName(name)) {
    type = TokenType::kControl;
  }
  const bool is_bpe = spec.model == TokenizerSpec::Model::kByteLevelBpe;
  if (type == TokenType::kByte && !is_bpe) {
    const int byte = ByteOfName(name);
    if (byte < 0) {
      return CorruptData("tokenizer.ggml.tokens[", index, "] '", name,
                         "' is a byte token by its type but its name is not <0x00> ... <0xFF>");
    }
    byte_tokens_[static_cast<size_t>(byte)] = id;
    const char c = static_cast<char>(byte);
    tokens_.Add({&c, 1});
    return OkStatus();
  }
  const bool is_text =
      type == TokenType::kNormal || type == TokenType::kUnused || type == TokenType::kUndefined;
  piece->clear();
  if (is_text && !is_bpe) {
    AppendUnescaped(name, piece);
  } else if (!is_text || !DecodeByteLevel(name, piece)) {
    tokens_.Add(name);  // a literal that merging never makes
    return OkStatus();
  }
  tokens_.Add(*piece);
  findable->push_back(id);
  return OkStatus();
}

Status Tokenizer::SetSpecialIds(const TokenizerSpec& spec) {
  const auto check = [&](std::string_view name, int32_t id) {
    return id >= -1 && id < vocab_size()
               ? OkStatus()
               : CorruptData("tokenizer.ggml.", name, "_token_id ", id,
                             " is not a token; the vocabulary has ", vocab_size());
  };
  QUIRE_RETURN_IF_ERROR(check("bos", spec.bos_id));
  QUIRE_RETURN_IF_ERROR(check("eos", spec.eos_id));
  QUIRE_RETURN_IF_ERROR(check("eot", spec.eot_id));
  QUIRE_RETURN_IF_ERROR(check("unknown", spec.unknown_id));
  bos_id_ = spec.bos_id;
  eos_id_ = spec.eos_id;
  eot_id_ = spec.eot_id;
  return OkStatus();
}

void Tokenizer::IndexSpecialTokens() {
  std::vector<SpecialTokens::Token> user_defined;
  std::vector<SpecialTokens::Token> all;
  for (int32_t id = 0; id < vocab_size(); ++id) {
    if (type(id) == TokenType::kUserDefined) {
      user_defined.push_back({TokenPiece(id), id});
    }
    if (type(id) == TokenType::kUserDefined || IsSpecial(id)) {
      all.push_back({TokenPiece(id), id});
    }
  }
  always_split_ = SpecialTokens(std::move(user_defined));
  all_special_ = SpecialTokens(std::move(all));

  for (const std::string_view name : kTurnEndNames) {
    if (eot_id_ < 0) {
      eot_id_ = FindToken(name);
    }
  }
  SetEndTokens();
}

void Tokenizer::SetEndTokens() {
  end_ids_ = {eos_id_, eot_id_};
  for (const std::string_view name : kEndTokenNames) {
    end_ids_.push_back(FindToken(name));
  }
  for (const std::string_view name : kEndControlTokenNames) {
    const int32_t id = FindToken(name);
    end_ids_.push_back(IsSpecial(id) ? id : -1);
  }
  // In the Harmony format <|end|> ends a message, and another of the same turn follows.
  const bool harmony = FindToken("<|call|>") >= 0 && FindToken("<|return|>") >= 0;
  const bool solar = FindToken("<|calls|>") >= 0 && FindToken("<|flush|>") >= 0;
  if (harmony || solar) {
    std::replace(end_ids_.begin(), end_ids_.end(), FindToken("<|end|>"), -1);
  }
  std::sort(end_ids_.begin(), end_ids_.end());
  end_ids_.erase(std::unique(end_ids_.begin(), end_ids_.end()), end_ids_.end());
  std::erase(end_ids_, -1);
}

Status Tokenizer::MakeBpe(const TokenizerSpec& spec) {
  QUIRE_ASSIGN_OR_RETURN(pre_tokenizer_, PreTokenizer::FromName(spec.pre));
  const PreTokenizer::Traits& traits = pre_tokenizer_->traits();
  QUIRE_ASSIGN_OR_RETURN(bpe_, BpeEncoder::Create(tokens_, spec.merges, traits.ignore_merges));
  add_bos_ = spec.add_bos.value_or(traits.add_bos);
  return OkStatus();
}

Status Tokenizer::MakeSentencePiece(const TokenizerSpec& spec) {
  QUIRE_ASSIGN_OR_RETURN(spm_,
                         SpmEncoder::Create(tokens_, {spec.scores, byte_tokens_, spec.unknown_id}));
  add_bos_ = spec.add_bos.value_or(true);
  add_space_prefix_ = spec.add_space_prefix.value_or(true);
  return OkStatus();
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  // A U+2581 in the text is a space to sentencepiece, in user-defined tokens too.
  std::string unescaped;
  if (spm_.has_value() && text.find(kSpaceMark) != std::string_view::npos) {
    AppendUnescaped(text, &unescaped);
    text = unescaped;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 4);
  if (options.add_bos.value_or(add_bos_) && bos_id_ >= 0) {
    ids.push_back(bos_id_);
  }
  const SpecialTokens& special = options.parse_special ? all_special_ : always_split_;
  bool after_special = true;
  for (size_t begin = 0; begin < text.size();) {
    const SpecialTokens::Match match = special.FindFirst(text, begin);
    if (match.begin > begin) {
      EncodeText(text.substr(begin, match.begin - begin), after_special, &ids);
      after_special = false;
    }
    if (match.id >= 0) {
      ids.push_back(match.id);
      after_special = true;
    }
    begin = match.end;
  }
  return ids;
}

void Tokenizer::EncodeText(std::string_view text, bool after_special,
                           std::vector<int32_t>* ids) const {
  if (spm_.has_value()) {
    if (add_space_prefix_ && after_special) {
      spm_->Encode(StrCat(" ", text), ids);
    } else {
      spm_->Encode(text, ids);
    }
    return;
  }
  std::vector<std::string_view> words;
  pre_tokenizer_->Split(text, &words);
  for (const std::string_view word : words) {
    bpe_->EncodeWord(word, ids);
  }
}

int32_t Tokenizer::FindToken(std::string_view piece) const {
  if (const int32_t id = tokens_.Find(piece); id >= 0) {
    return id;
  }
  const SpecialTokens::Match match = all_special_.FindFirst(piece, 0);
  return match.begin == 0 && match.end == piece.size() ? match.id : -1;
}

bool Tokenizer::IsEndOfGeneration(int32_t id) const {
  return std::binary_search(end_ids_.begin(), end_ids_.end(), id);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab_size() &&
         (type(id) == TokenType::kControl || type(id) == TokenType::kUnknown);
}

}  // namespace quire
