#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr TokenType kN = TokenType::kNormal;
constexpr TokenType kC = TokenType::kControl;
constexpr TokenType kU = TokenType::kUserDefined;

TokenizerSpec BpeSpec() {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::kByteLevelBpe;
  spec.pre = "gpt-2";
  spec.tokens = {"<|endoftext|>", "h", "i", "Ġ", "hi", "Ġhi", "<x>", "<|im_end|>", "<", ">", "x"};
  spec.types = {kC, kN, kN, kN, kN, kN, kU, kC, kN, kN, kN};
  spec.merges = {"h i", "Ġ hi"};
  spec.bos_id = 0;
  spec.eos_id = 0;
  return spec;
}

TokenizerSpec SpmSpec() {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::kSentencePiece;
  spec.tokens = {"<unk>", "<s>", "</s>", "▁", "h", "i", "hi", "▁hi", "  ", "<0x21>"};
  spec.types = {TokenType::kUnknown, kC, kC, kN, kN, kN, kN, kN, kU, TokenType::kByte};
  spec.scores = {0, 0, 0, -1, -1, -1, -2, -1, 0, 0};
  spec.bos_id = 1;
  spec.eos_id = 2;
  spec.unknown_id = 0;
  return spec;
}

std::unique_ptr<Tokenizer> Make(const TokenizerSpec& spec) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

TEST(TokenizerTest, BpeSplitsSpecialTokensFirst) {
  const auto tokenizer = Make(BpeSpec());
  EXPECT_THAT(tokenizer->Encode("hi hi"), ElementsAre(4, 5));
  // User-defined tokens are always split off, control tokens only when asked.
  EXPECT_THAT(tokenizer->Encode("hi<x> hi"), ElementsAre(4, 6, 5));
  EXPECT_THAT(tokenizer->Encode("hi<|im_end|>", {.parse_special = true}), ElementsAre(4, 7));
  EXPECT_THAT(tokenizer->Encode("hi<|im_end|>"), ElementsAre(4, 8, 2, 9));
  EXPECT_THAT(tokenizer->Encode("<x"), ElementsAre(8, 10));
  EXPECT_THAT(tokenizer->Encode(""), ElementsAre());
}

TEST(TokenizerTest, BosFollowsOptionThenModel) {
  TokenizerSpec spec = BpeSpec();
  EXPECT_FALSE(Make(spec)->adds_bos());
  EXPECT_THAT(Make(spec)->Encode("hi", {.add_bos = true}), ElementsAre(0, 4));
  spec.add_bos = true;
  EXPECT_THAT(Make(spec)->Encode("hi"), ElementsAre(0, 4));
  EXPECT_THAT(Make(spec)->Encode(""), ElementsAre(0));
  EXPECT_THAT(Make(spec)->Encode("hi", {.add_bos = false}), ElementsAre(4));
  spec.add_bos = {};
  spec.pre = "llama-bpe";
  EXPECT_TRUE(Make(spec)->adds_bos());
}

TEST(TokenizerTest, SentencePiecePutsASpaceBeforeText) {
  TokenizerSpec spec = SpmSpec();
  const auto tokenizer = Make(spec);
  EXPECT_THAT(tokenizer->Encode("hi"), ElementsAre(1, 7));
  EXPECT_THAT(tokenizer->Encode("hi</s>hi", {.parse_special = true}), ElementsAre(1, 7, 2, 7));
  EXPECT_THAT(tokenizer->Encode(""), ElementsAre(1));
  spec.add_space_prefix = false;
  const auto plain = Make(spec);
  EXPECT_THAT(plain->Encode("hi"), ElementsAre(1, 6));
  EXPECT_THAT(plain->Encode(" hi"), ElementsAre(1, 7));
  EXPECT_THAT(plain->Encode("▁hi"), ElementsAre(1, 7));  // what sentencepiece takes for a space
  EXPECT_THAT(plain->Encode("  hi"), ElementsAre(1, 8, 6));
  EXPECT_THAT(plain->Encode("!?"), ElementsAre(1, 9, 0));
}

TEST(TokenizerTest, PiecesAreTheBytesOfTheText) {
  const auto bpe = Make(BpeSpec());
  EXPECT_EQ(bpe->TokenPiece(5), " hi");
  EXPECT_EQ(bpe->TokenPiece(7), "<|im_end|>");
  const auto spm = Make(SpmSpec());
  EXPECT_EQ(spm->TokenPiece(7), " hi");
  EXPECT_EQ(spm->TokenPiece(9), "!");
  EXPECT_EQ(spm->TokenPiece(2), "</s>");
  EXPECT_EQ(spm->FindToken(" hi"), 7);
  EXPECT_EQ(spm->FindToken("</s>"), 2);
  EXPECT_EQ(spm->FindToken("</s"), -1);
  EXPECT_EQ(spm->FindToken(""), -1);
}

TEST(TokenizerTest, UndecodableTokensAreLiterals) {
  TokenizerSpec spec = BpeSpec();
  spec.tokens[10] = "a b";  // a space is outside the byte alphabet
  const auto tokenizer = Make(spec);
  EXPECT_EQ(tokenizer->TokenPiece(10), "a b");
  EXPECT_EQ(tokenizer->FindToken("a b"), -1);
}

TEST(TokenizerTest, EndOfGeneration) {
  const auto bpe = Make(BpeSpec());
  EXPECT_THAT(bpe->end_of_generation_ids(), ElementsAre(0, 7));
  EXPECT_EQ(bpe->eot_id(), 7);
  EXPECT_TRUE(bpe->IsEndOfGeneration(7));
  EXPECT_FALSE(bpe->IsEndOfGeneration(6));
  EXPECT_FALSE(bpe->IsEndOfGeneration(-1));
  EXPECT_FALSE(bpe->IsEndOfGeneration(1 << 30));
  EXPECT_THAT(Make(SpmSpec())->end_of_generation_ids(), ElementsAre(2));
}

TEST(TokenizerTest, EndNamesCountAccordingToTheirType) {
  TokenizerSpec spec = BpeSpec();
  spec.tokens[6] = "</s>";  // user-defined: markup
  spec.tokens[10] = "<end_of_turn>";
  const auto tokenizer = Make(spec);
  EXPECT_THAT(tokenizer->end_of_generation_ids(), ElementsAre(0, 7, 10));
  EXPECT_TRUE(tokenizer->IsSpecial(10));  // though the file calls it ordinary
  EXPECT_THAT(tokenizer->Encode("<end_of_turn>", {.parse_special = true}), ElementsAre(10));
  spec.types[6] = kC;
  EXPECT_THAT(Make(spec)->end_of_generation_ids(), ElementsAre(0, 6, 7, 10));
}

TEST(TokenizerTest, InHarmonyTheEndOfAMessageIsNotTheEnd) {
  TokenizerSpec spec = BpeSpec();
  spec.tokens[6] = "<|end|>";
  spec.tokens[10] = "<|return|>";
  EXPECT_TRUE(Make(spec)->IsEndOfGeneration(6));
  spec.tokens[7] = "<|call|>";
  EXPECT_THAT(Make(spec)->end_of_generation_ids(), ElementsAre(0, 7, 10));
}

TEST(TokenizerTest, SpecialTokensAreControlAndUnknown) {
  const auto spm = Make(SpmSpec());
  EXPECT_TRUE(spm->IsSpecial(0));
  EXPECT_TRUE(spm->IsSpecial(1));
  EXPECT_FALSE(spm->IsSpecial(7));
  EXPECT_FALSE(spm->IsSpecial(8));
  EXPECT_FALSE(spm->IsSpecial(-1));
  EXPECT_FALSE(spm->IsSpecial(10));
}

struct BadSpec {
  std::string_view expected;
  StatusCode code;
  void (*change)(TokenizerSpec* spec);
};

void ExpectRefused(const TokenizerSpec& good, const BadSpec& bad) {
  TokenizerSpec spec = good;
  bad.change(&spec);
  const Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Create(spec);
  ASSERT_FALSE(tokenizer.ok()) << bad.expected;
  EXPECT_EQ(tokenizer.status().code(), bad.code) << tokenizer.status().message();
  EXPECT_THAT(tokenizer.status().message(), HasSubstr(bad.expected));
}

TEST(TokenizerTest, ContradictionsNameTheKey) {
  constexpr StatusCode kCorrupt = StatusCode::kCorruptData;
  const BadSpec bad[] = {
      {"tokenizer.ggml.tokens is empty", kCorrupt, [](TokenizerSpec* s) { *s = {}; }},
      {"tokenizer.ggml.token_type has 1", kCorrupt, [](TokenizerSpec* s) { s->types.resize(1); }},
      {"tokenizer.ggml.bos_token_id 11", kCorrupt, [](TokenizerSpec* s) { s->bos_id = 11; }},
      {"tokenizer.ggml.eos_token_id -2", kCorrupt, [](TokenizerSpec* s) { s->eos_id = -2; }},
      {"tokenizer.ggml.eot_token_id 99", kCorrupt, [](TokenizerSpec* s) { s->eot_id = 99; }},
      {"tokens[10] 'x' repeats token 1", kCorrupt, [](TokenizerSpec* s) { s->tokens[1] = "x"; }},
      {"tokenizer.ggml.merges[0]", kCorrupt, [](TokenizerSpec* s) { s->tokens[4] = "no"; }},
      {"tokenizer.ggml.pre 'new'", StatusCode::kUnsupported,
       [](TokenizerSpec* s) { s->pre = "new"; }},
      {"tokenizer.ggml.bos_token_id is missing", StatusCode::kNotFound,
       [](TokenizerSpec* s) { s->bos_id = -1, s->add_bos = true; }},
      {"tokenizer.ggml.eos_token_id is missing", StatusCode::kNotFound,
       [](TokenizerSpec* s) { s->eos_id = -1, s->tokens[0] = "<b>", s->tokens[7] = "<e>"; }},
  };
  for (const BadSpec& b : bad) {
    ExpectRefused(BpeSpec(), b);
  }
}

TEST(TokenizerTest, SentencePieceContradictionsNameTheKey) {
  constexpr StatusCode kCorrupt = StatusCode::kCorruptData;
  const BadSpec bad[] = {
      {"tokenizer.ggml.scores has 0", kCorrupt, [](TokenizerSpec* s) { s->scores.clear(); }},
      {"tokenizer.ggml.unknown_token_id", kCorrupt, [](TokenizerSpec* s) { s->unknown_id = -1; }},
      {"tokens[9] '<0xG1>'", kCorrupt, [](TokenizerSpec* s) { s->tokens[9] = "<0xG1>"; }},
      {"tokens[9] '!'", kCorrupt, [](TokenizerSpec* s) { s->tokens[9] = "!"; }},
      {"bos_token_id is missing", StatusCode::kNotFound, [](TokenizerSpec* s) { s->bos_id = -1; }},
  };
  for (const BadSpec& b : bad) {
    ExpectRefused(SpmSpec(), b);
  }
}

}  // namespace
}  // namespace quire
