// Text to token ids, and the bytes of each token.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/loader/gguf.h"
#include "tokenizer/bpe_encoder.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/spm_encoder.h"
#include "tokenizer/token_table.h"

namespace quire {

// The numbers of tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // shown to the model only: never part of what a user typed
  kUserDefined = 4,  // always split off first, but ordinary text
  kUnused = 5,
  kByte = 6,
};

// A tokenizer as plain data. The views must stay valid during Tokenizer::Create only.
struct TokenizerSpec {
  enum class Model { kByteLevelBpe, kSentencePiece };

  Model model = Model::kByteLevelBpe;
  std::string_view pre;                  // BPE: a name of pre_tokenizer.h
  std::vector<std::string_view> tokens;  // as the file writes them; the index is the id
  std::vector<TokenType> types;          // [tokens], or empty: all normal
  std::vector<float> scores;             // sentencepiece: [tokens]
  std::vector<std::string_view> merges;  // BPE: "left right", best first
  int32_t bos_id = -1;                   // -1: none
  int32_t eos_id = -1;
  int32_t eot_id = -1;
  int32_t unknown_id = -1;
  std::optional<bool> add_bos;           // absent: as the model or `pre` has it
  std::optional<bool> add_space_prefix;  // sentencepiece only; absent: true
};

struct EncodeOptions {
  // Whether the beginning-of-text token goes first; absent: what the model was trained with.
  std::optional<bool> add_bos = std::nullopt;
  // Whether the text of a control token becomes that token. Only for text that we or the template
  // wrote: with it, a user who types "<|im_end|>" ends the turn.
  bool parse_special = false;
};

// Immutable, so thread-safe. Owns all it needs: the file may be closed.
class Tokenizer {
 public:
  // Reads the tokenizer.ggml.* metadata. Errors name the key: not_found (missing), invalid_argument
  // (of another kind), corrupt_data (counts or ids that contradict each other, duplicate tokens,
  // broken merges), unsupported (another tokenizer.ggml.model than gpt2 and llama, an unknown
  // tokenizer.ggml.pre).
  static Result<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);

  // The same errors for a spec made by hand.
  static Result<std::unique_ptr<Tokenizer>> Create(const TokenizerSpec& spec);

  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // The tokens of `text`, which may hold any bytes: broken UTF-8 is encoded byte by byte. Never
  // appends an end token, whatever the file's add_eos_token says: the text goes on. Ids are those
  // of Hugging Face tokenizers, but without a Unicode normalization (NFC) of the text. Time: O(n
  // log n). REQUIRES: text.size() < 2^32 - 1.
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The bytes that token `id` stands for: maybe a part of a code point, spaces as spaces, the name
  // of a special token. Valid while the tokenizer lives. REQUIRES: 0 <= id < vocab_size().
  std::string_view TokenPiece(int32_t id) const { return tokens_.bytes(id); }
  TokenType type(int32_t id) const { return types_[static_cast<size_t>(id)]; }

  // The token whose piece is exactly `piece`, or -1; for control and user-defined tokens: their
  // name.
  int32_t FindToken(std::string_view piece) const;

  int32_t vocab_size() const { return tokens_.size(); }
  int32_t bos_id() const { return bos_id_; }  // -1: none
  int32_t eos_id() const { return eos_id_; }
  int32_t eot_id() const { return eot_id_; }  // end of turn
  bool adds_bos() const { return add_bos_; }
  bool adds_space_prefix() const { return add_space_prefix_; }

  // Whether sampling `id` ends the answer: eos, eot and the control tokens that models are known to
  // end a text, turn or file with (end_tokens.h). Any id may be asked for.
  bool IsEndOfGeneration(int32_t id) const;
  std::span<const int32_t> end_of_generation_ids() const { return end_ids_; }  // ascending

  // Control and unknown tokens: not part of the text that a user sees. Any id may be asked for.
  bool IsSpecial(int32_t id) const;

 private:
  Tokenizer(size_t tokens, size_t bytes) : tokens_(tokens, bytes) {}

  Status AddTokens(const TokenizerSpec& spec);
  Status AddToken(const TokenizerSpec& spec, size_t index, std::string* piece,
                  std::vector<int32_t>* findable);
  Status SetSpecialIds(const TokenizerSpec& spec);
  void SetEndTokens();
  void IndexSpecialTokens();
  Status MakeBpe(const TokenizerSpec& spec);
  Status MakeSentencePiece(const TokenizerSpec& spec);

  void EncodeText(std::string_view text, bool after_special, std::vector<int32_t>* ids) const;

  TokenTable tokens_;  // pieces; findable: those that merging may make
  std::vector<TokenType> types_;
  std::array<int32_t, 256> byte_tokens_;  // sentencepiece
  SpecialTokens always_split_;            // user-defined
  SpecialTokens all_special_;             // and control, unknown
  std::vector<int32_t> end_ids_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  int32_t eot_id_ = -1;
  bool add_bos_ = false;
  bool add_space_prefix_ = false;

  // One of the two models.
  std::optional<PreTokenizer> pre_tokenizer_;
  std::optional<BpeEncoder> bpe_;
  std::optional<SpmEncoder> spm_;
};

}  // namespace quire
