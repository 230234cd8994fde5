#include "tokenizer/special_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/test_seed.h"

namespace quire {
namespace {

TEST(SpecialTokensTest, LeftmostThenLongest) {
  const SpecialTokens tokens({{"<a>", 1}, {"<a>b", 2}, {"a", 3}, {"b>", 4}, {"", 5}});
  const auto expect = [&](std::string_view text, size_t from, size_t begin, size_t end,
                          int32_t id) {
    const SpecialTokens::Match match = tokens.FindFirst(text, from);
    EXPECT_EQ(match.begin, begin) << text;
    EXPECT_EQ(match.end, end) << text;
    EXPECT_EQ(match.id, id) << text;
  };
  expect("x<a>b>", 0, 1, 5, 2);
  expect("x<a>c", 0, 1, 4, 1);
  expect("x<a", 0, 2, 3, 3);
  expect("x<a>b>", 2, 2, 3, 3);
  expect("x<a>b>", 3, 4, 6, 4);
  expect("xyz", 0, 3, 3, -1);
  expect("", 0, 0, 0, -1);
}

TEST(SpecialTokensTest, NoTokensNeverMatch) {
  EXPECT_EQ(SpecialTokens().FindFirst("abc", 0).id, -1);
  EXPECT_EQ(SpecialTokens({{"", 0}}).FindFirst("abc", 0).id, -1);
}

TEST(SpecialTokensTest, OfEqualTextsTheLowestIdWins) {
  const SpecialTokens tokens({{"x", 7}, {"x", 3}, {"x", 5}});
  EXPECT_EQ(tokens.FindFirst("x", 0).id, 3);
}

TEST(SpecialTokensTest, AgreesWithASearchOfAllTokens) {
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> texts(1 + random() % 12);
    std::vector<SpecialTokens::Token> list;
    for (std::string& text : texts) {
      text.resize(1 + random() % 5);
      for (char& c : text) c = static_cast<char>('\xFE' + random() % 3);  // FE, FF, 00
      list.push_back({text, static_cast<int32_t>(list.size())});
    }
    std::string text(random() % 30, 'x');
    for (char& c : text) c = static_cast<char>('\xFE' + random() % 4);
    size_t begin = text.size();
    size_t size = 0;
    for (size_t i = 0; i < text.size() && size == 0; ++i) {
      for (const std::string& token : texts) {
        if (token.size() > size && text.compare(i, token.size(), token) == 0) {
          begin = i;
          size = token.size();
        }
      }
    }
    const SpecialTokens::Match match = SpecialTokens(list).FindFirst(text, 0);
    ASSERT_EQ(match.begin, begin);
    ASSERT_EQ(match.end, begin + size);
    ASSERT_EQ(match.id >= 0, size > 0);
  }
}

}  // namespace
}  // namespace quire
