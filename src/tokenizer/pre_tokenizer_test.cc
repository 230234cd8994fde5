#include "tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/test_seed.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Split(std::string_view name, std::string_view text) {
  const Result<PreTokenizer> pre = PreTokenizer::FromName(name);
  EXPECT_TRUE(pre.ok()) << name;
  std::vector<std::string_view> words;
  pre->Split(text, &words);
  return {words.begin(), words.end()};
}

TEST(PreTokenizerTest, Gpt2) {
  EXPECT_THAT(Split("gpt-2", "Hello, it's 2024  now"),
              ElementsAre("Hello", ",", " it", "'s", " 2024", " ", " now"));
  EXPECT_THAT(Split("gpt-2", "I'LL they'll we've"),
              ElementsAre("I", "'", "LL", " they", "'ll", " we", "'ve"));
  EXPECT_THAT(Split("gpt-2", "a\n\n b  "), ElementsAre("a", "\n\n", " b", "  "));
  EXPECT_THAT(Split("gpt-2", " \t x"), ElementsAre(" \t", " x"));
  EXPECT_THAT(Split("gpt-2", "\tx"), ElementsAre("\t", "x"));
  EXPECT_THAT(Split("gpt-2", "é²+★ 한국"), ElementsAre("é", "²", "+★", " 한국"));
}

TEST(PreTokenizerTest, SmolLmSplitsEveryDigit) {
  EXPECT_THAT(Split("smollm", "a 12 b"), ElementsAre("a", " ", "1", "2", " b"));
  EXPECT_THAT(Split("smollm", "x²½Ⅻ"), ElementsAre("x", "²", "½", "Ⅻ"));
  // The text before a digit is split on its own, so nothing is left over for the digit.
  EXPECT_THAT(Split("smollm", "a   1"), ElementsAre("a", "   ", "1"));
}

TEST(PreTokenizerTest, Llama3) {
  EXPECT_THAT(Split("llama-bpe", "1234567 I'LL"), ElementsAre("123", "456", "7", " I", "'LL"));
  EXPECT_THAT(Split("llama-bpe", "'ſ 'rE"), ElementsAre("'ſ", " '", "rE"));
  EXPECT_THAT(Split("llama-bpe", "(a) \"b\"\n\nc"),
              ElementsAre("(a", ")", " \"", "b", "\"\n\n", "c"));
  EXPECT_THAT(Split("llama-bpe", "a \n  \n  b"), ElementsAre("a", " \n  \n", " ", " b"));
  EXPECT_THAT(Split("llama-bpe", "\ta\u00a0b"), ElementsAre("\ta", "\u00a0b"));
  EXPECT_THAT(Split("llama-bpe", "a  "), ElementsAre("a", "  "));
  EXPECT_THAT(Split("llama-bpe", "a\r\n"), ElementsAre("a", "\r\n"));
  EXPECT_THAT(Split("llama-bpe", "e\u0301t"), ElementsAre("e", "\u0301t"));
}

TEST(PreTokenizerTest, Qwen) {
  EXPECT_THAT(Split("qwen2", "x12"), ElementsAre("x", "1", "2"));
  EXPECT_THAT(Split("qwen2", "e\u0301"), ElementsAre("e", "\u0301"));
  EXPECT_THAT(Split("qwen35", "e\u0301t 12"), ElementsAre("e\u0301t", " ", "1", "2"));
  EXPECT_THAT(Split("qwen35", "\u0301 x"), ElementsAre("\u0301", " x"));
}

TEST(PreTokenizerTest, DefaultAndFalcon) {
  EXPECT_THAT(Split("default", "a, b 12345"), ElementsAre("a", ",", " b", " ", "123", "45"));
  EXPECT_THAT(Split("default", "$x`y"), ElementsAre("$", "x", "`", "y"));
  EXPECT_THAT(Split("falcon", "a,` 1234"), ElementsAre("a", ",`", " ", "123", "4"));
}

TEST(PreTokenizerTest, BrokenUtf8IsKept) {
  EXPECT_THAT(Split("gpt-2", "a\xFF\xE2\x82 b"), ElementsAre("a", "\xFF\xE2\x82", " b"));
  EXPECT_THAT(Split("llama-bpe", "\xFFz\xC2"), ElementsAre("\xFFz", "\xC2"));
}

TEST(PreTokenizerTest, UnknownNameIsUnsupported) {
  const Result<PreTokenizer> pre = PreTokenizer::FromName("viking");
  ASSERT_FALSE(pre.ok());
  EXPECT_EQ(pre.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(pre.status().message(), HasSubstr("tokenizer.ggml.pre 'viking'"));
  EXPECT_THAT(pre.status().message(), HasSubstr("smollm"));
}

TEST(PreTokenizerTest, WordsJoinToTheText) {
  std::mt19937_64 random(TestSeed());
  constexpr std::string_view kParts[] = {
      "a", "Z", "1",  " ", "  ",     "\n", "\r", "'", "s",    "ll",   ".", "$",
      "`", "é", "界", "́",  "\u00a0", "😀", "\t", "٣", "\xFF", "\xE2", "",  "\xF0\x9F"};
  for (const std::string_view name :
       {"gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "default", "falcon"}) {
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (uint64_t i = random() % 20; i > 0; --i) {
        text += kParts[random() % std::size(kParts)];
      }
      std::string joined;
      for (const std::string& word : Split(name, text)) {
        ASSERT_FALSE(word.empty()) << name;
        joined += word;
      }
      ASSERT_EQ(joined, text) << name;
    }
  }
}

}  // namespace
}  // namespace quire
