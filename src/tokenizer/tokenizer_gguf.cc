// The tokenizer of a GGUF file: its tokenizer.ggml.* metadata as a TokenizerSpec.
#include <limits>

#include "tokenizer/tokenizer.h"

namespace quire {

namespace {

Result<int32_t> GetTokenId(const GgufFile& file, std::string_view key) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t id, file.GetIntOr(key, -1));
  if (id < -1 || id > std::numeric_limits<int32_t>::max()) {
    return CorruptData(key, " ", id, " is not a token");
  }
  return static_cast<int32_t>(id);
}

Result<std::optional<bool>> GetFlag(const GgufFile& file, std::string_view key) {
  if (file.Find(key) == nullptr) {
    return std::optional<bool>();
  }
  QUIRE_ASSIGN_OR_RETURN(const bool value, file.GetBool(key));
  return std::optional<bool>(value);
}

Status ReadTypes(const GgufFile& file, TokenizerSpec* spec) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  if (file.Find(kKey) == nullptr) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int64_t> types, file.GetInts(kKey));
  spec->types.reserve(types.size());
  for (const int64_t type : types) {
    const bool known = type >= 0 && type <= static_cast<int64_t>(TokenType::kByte);
    spec->types.push_back(known ? static_cast<TokenType>(type) : TokenType::kUndefined);
  }
  return OkStatus();
}

Status ReadModel(const GgufFile& file, TokenizerSpec* spec) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model == "gpt2") {
    spec->model = TokenizerSpec::Model::kByteLevelBpe;
    QUIRE_ASSIGN_OR_RETURN(spec->pre, file.GetString("tokenizer.ggml.pre"));
    QUIRE_ASSIGN_OR_RETURN(spec->merges, file.GetStrings("tokenizer.ggml.merges"));
    return OkStatus();
  }
  if (model == "llama") {
    spec->model = TokenizerSpec::Model::kSentencePiece;
    QUIRE_ASSIGN_OR_RETURN(spec->scores, file.GetFloats("tokenizer.ggml.scores"));
    QUIRE_ASSIGN_OR_RETURN(spec->add_space_prefix,
                           GetFlag(file, "tokenizer.ggml.add_space_prefix"));
    return OkStatus();
  }
  return Unsupported("tokenizer.ggml.model '", model, "' is not supported; known are gpt2, llama");
}

Result<std::unique_ptr<Tokenizer>> ReadTokenizer(const GgufFile& file) {
  TokenizerSpec spec;
  QUIRE_RETURN_IF_ERROR(ReadModel(file, &spec));
  QUIRE_ASSIGN_OR_RETURN(spec.tokens, file.GetStrings("tokenizer.ggml.tokens"));
  QUIRE_RETURN_IF_ERROR(ReadTypes(file, &spec));
  QUIRE_ASSIGN_OR_RETURN(spec.bos_id, GetTokenId(file, "tokenizer.ggml.bos_token_id"));
  QUIRE_ASSIGN_OR_RETURN(spec.eos_id, GetTokenId(file, "tokenizer.ggml.eos_token_id"));
  QUIRE_ASSIGN_OR_RETURN(spec.eot_id, GetTokenId(file, "tokenizer.ggml.eot_token_id"));
  QUIRE_ASSIGN_OR_RETURN(spec.unknown_id, GetTokenId(file, "tokenizer.ggml.unknown_token_id"));
  QUIRE_ASSIGN_OR_RETURN(spec.add_bos, GetFlag(file, "tokenizer.ggml.add_bos_token"));
  return Tokenizer::Create(spec);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = ReadTokenizer(file);
  if (!tokenizer.ok()) {
    return tokenizer.status().WithContext(file.path());
  }
  return tokenizer;
}

}  // namespace quire
