#include "tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace quire {
namespace {

// Token b is the byte b; 256 is a control token, 257 " x", 258 user-defined.
std::unique_ptr<Tokenizer> ByteTokenizer(TokenizerSpec::Model model, bool space_prefix) {
  std::vector<std::string> names;
  TokenizerSpec spec;
  spec.model = model;
  const bool is_bpe = model == TokenizerSpec::Model::kByteLevelBpe;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    names.push_back(is_bpe ? EncodeByteLevel(static_cast<uint8_t>(byte))
                           : StrCat("<0x", kHex[byte / 16], kHex[byte % 16], ">"));
    spec.types.push_back(is_bpe ? TokenType::kNormal : TokenType::kByte);
  }
  names.insert(names.end(), {"<|im_end|>", is_bpe ? "Ġx" : "▁x", "<user>"});
  spec.types.insert(spec.types.end(),
                    {TokenType::kControl, TokenType::kNormal, TokenType::kUserDefined});
  spec.tokens.assign(names.begin(), names.end());
  spec.scores.resize(names.size());
  spec.pre = "gpt-2";
  spec.eos_id = 256;
  spec.bos_id = 256;
  spec.add_space_prefix = space_prefix;
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

std::unique_ptr<Tokenizer> Bpe() {
  return ByteTokenizer(TokenizerSpec::Model::kByteLevelBpe, false);
}

// The pieces, '|' between.
std::string Pieces(const Tokenizer& tokenizer, std::string_view bytes,
                   const DetokenizerOptions& options = {}) {
  Detokenizer detokenizer(tokenizer, options);
  std::string out;
  for (const char byte : bytes) {
    out += detokenizer.Append(static_cast<uint8_t>(byte)) + "|";
  }
  return out + detokenizer.Flush();
}

TEST(DetokenizerTest, HoldsBackUntilACharacterIsWhole) {
  const auto tokenizer = Bpe();
  EXPECT_EQ(Pieces(*tokenizer, "a\xC3\xA9"), "a||é|");
  EXPECT_EQ(Pieces(*tokenizer, "\xF0\x9F\x98\x80!"), "|||😀|!|");
}

TEST(DetokenizerTest, BrokenBytesBecomeReplacementCharacters) {
  const auto tokenizer = Bpe();
  EXPECT_EQ(Pieces(*tokenizer, "\xFF"), "\uFFFD|");
  EXPECT_EQ(Pieces(*tokenizer, "\xE2\x82x"), "||\uFFFDx|");
  EXPECT_EQ(Pieces(*tokenizer, "\xE2\xE2\x82\xAC"), "|\uFFFD||€|");
  EXPECT_EQ(Pieces(*tokenizer, "\xF0\x9F"), "||\uFFFD");
  EXPECT_EQ(Pieces(*tokenizer, "\xED\xA0\x80"), "|\uFFFD\uFFFD|\uFFFD|");
}

TEST(DetokenizerTest, SpecialTokensAreLeftOutUnlessWanted) {
  const auto tokenizer = Bpe();
  Detokenizer quiet(*tokenizer);
  EXPECT_EQ(quiet.Append(0xC3), "");
  EXPECT_EQ(quiet.Append(256), "");
  EXPECT_EQ(quiet.Append(0xA9), "é");
  EXPECT_EQ(quiet.Append(258), "<user>");
  Detokenizer verbose(*tokenizer, {.skip_special = false});
  EXPECT_EQ(verbose.Append(0xC3), "");
  EXPECT_TRUE(verbose.holds_back());
  EXPECT_EQ(verbose.Append(256), "\uFFFD<|im_end|>");
  EXPECT_FALSE(verbose.holds_back());
}

TEST(DetokenizerTest, DropsTheSpacePrefixAtTheBeginningOfATextOnly) {
  const auto spm = ByteTokenizer(TokenizerSpec::Model::kSentencePiece, true);
  Detokenizer text(*spm, {.begins_text = true});
  EXPECT_EQ(text.Append(256), "");
  EXPECT_EQ(text.Append(257), "x");
  EXPECT_EQ(text.Append(257), " x");
  Detokenizer continuation(*spm);
  EXPECT_EQ(continuation.Append(257), " x");
  const auto no_prefix = ByteTokenizer(TokenizerSpec::Model::kSentencePiece, false);
  Detokenizer gemma(*no_prefix, {.begins_text = true});
  EXPECT_EQ(gemma.Append(257), " x");
  Detokenizer bytes(*spm, {.begins_text = true});
  EXPECT_EQ(bytes.Append('a'), "a");
  EXPECT_EQ(bytes.Append(257), " x");
}

TEST(DetokenizerTest, PiecesJoinToTheWholeTextAndAreValid) {
  const auto tokenizer = Bpe();
  std::mt19937_64 random(TestSeed());
  constexpr std::string_view kParts[] = {
      "a", "é", "€", "😀", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\x80"};
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (uint64_t i = random() % 12; i > 0; --i) {
      bytes += kParts[random() % std::size(kParts)];
    }
    Detokenizer detokenizer(*tokenizer);
    std::string joined;
    for (const char byte : bytes) {
      const std::string piece = detokenizer.Append(static_cast<uint8_t>(byte));
      ASSERT_EQ(RepairUtf8(piece), piece);
      joined += piece;
    }
    ASSERT_EQ(joined + detokenizer.Flush(), RepairUtf8(bytes));
  }
}

}  // namespace
}  // namespace quire
