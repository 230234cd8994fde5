#include "tokenizer/bpe_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "base/test_seed.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TokenTable MakeTable(const std::vector<std::string>& tokens) {
  TokenTable table(tokens.size(), 0);
  std::vector<int32_t> ids;
  for (const std::string& token : tokens) {
    ids.push_back(table.size());
    table.Add(token);
  }
  EXPECT_EQ(table.Index(ids), -1);
  return table;
}

std::vector<int32_t> EncodeWord(const BpeEncoder& encoder, std::string_view word) {
  std::vector<int32_t> ids;
  encoder.EncodeWord(word, &ids);
  return ids;
}

TEST(BpeEncoderTest, EarlierRulesFirstThenLeftmost) {
  const TokenTable table = MakeTable({"a", "b", "c", "ab", "bc", "aa"});
  const std::vector<std::string_view> merges = {"b c", "a b", "a a"};
  const Result<BpeEncoder> encoder = BpeEncoder::Create(table, merges, false);
  ASSERT_TRUE(encoder.ok());
  EXPECT_THAT(EncodeWord(*encoder, "abc"), ElementsAre(0, 4));
  EXPECT_THAT(EncodeWord(*encoder, "aba"), ElementsAre(3, 0));
  EXPECT_THAT(EncodeWord(*encoder, "aaa"), ElementsAre(5, 0));
  EXPECT_THAT(EncodeWord(*encoder, ""), ElementsAre());
}

TEST(BpeEncoderTest, BytesWithoutATokenAreLeftOutAndMergeWithNothing) {
  const TokenTable table = MakeTable({"a", "b", "ab"});
  const std::vector<std::string_view> merges = {"a b"};
  const Result<BpeEncoder> encoder = BpeEncoder::Create(table, merges, false);
  ASSERT_TRUE(encoder.ok());
  EXPECT_THAT(EncodeWord(*encoder,
                         "a\x04"
                         "bab"),
              ElementsAre(0, 1, 2));
  EXPECT_THAT(EncodeWord(*encoder, std::string(50, '\x04')), ElementsAre());
}

TEST(BpeEncoderTest, IgnoreMergesTakesWholeTokens) {
  const TokenTable table = MakeTable({"a", "b", "ab", "aba"});
  const std::vector<std::string_view> merges = {"a b"};
  EXPECT_THAT(EncodeWord(*BpeEncoder::Create(table, merges, true), "aba"), ElementsAre(3));
  EXPECT_THAT(EncodeWord(*BpeEncoder::Create(table, merges, false), "aba"), ElementsAre(2, 0));
}

TEST(BpeEncoderTest, BrokenMergesAreNamed) {
  const TokenTable table = MakeTable({"a", "b", "ab"});
  for (const std::string_view broken : {"ab", "", "a ", "a c", "b a", "a ▁", "ab b"}) {
    const std::vector<std::string_view> merges = {"a b", broken};
    const Result<BpeEncoder> encoder = BpeEncoder::Create(table, merges, false);
    ASSERT_FALSE(encoder.ok()) << broken;
    EXPECT_EQ(encoder.status().code(), StatusCode::kCorruptData);
    EXPECT_THAT(encoder.status().message(), HasSubstr("tokenizer.ggml.merges[1]"));
  }
}

// A vocabulary of random merges over four letters.
struct RandomVocabulary {
  std::vector<std::string> tokens = {"a", "b", "c", "d"};
  std::vector<std::string> merges;
  std::map<std::pair<std::string, std::string>, size_t> ranks;

  explicit RandomVocabulary(std::mt19937_64* random) {
    std::set<std::string> known(tokens.begin(), tokens.end());
    while (merges.size() < 60) {
      const std::string left = tokens[(*random)() % tokens.size()];
      const std::string right = tokens[(*random)() % tokens.size()];
      if (left.size() + right.size() <= 8 && known.insert(left + right).second) {
        ranks[{left, right}] = merges.size();
        merges.push_back(left + " " + right);
        tokens.push_back(left + right);
      }
    }
  }

  // The definition: merge the best pair, leftmost first, until none is left.
  std::vector<std::string> Encode(std::string_view word) const {
    std::vector<std::string> symbols;
    for (const char c : word) symbols.emplace_back(1, c);
    while (true) {
      size_t best = symbols.size();
      size_t best_rank = merges.size();
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto rule = ranks.find({symbols[i], symbols[i + 1]});
        if (rule != ranks.end() && rule->second < best_rank) {
          best = i;
          best_rank = rule->second;
        }
      }
      if (best == symbols.size()) return symbols;
      symbols[best] += symbols[best + 1];
      symbols.erase(symbols.begin() + static_cast<int64_t>(best) + 1);
    }
  }
};

TEST(BpeEncoderTest, ShortAndLongWordsFollowTheDefinition) {
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 20; ++round) {
    const RandomVocabulary vocabulary(&random);
    const TokenTable table = MakeTable(vocabulary.tokens);
    const std::vector<std::string_view> merges(vocabulary.merges.begin(), vocabulary.merges.end());
    const Result<BpeEncoder> encoder = BpeEncoder::Create(table, merges, false);
    ASSERT_TRUE(encoder.ok()) << encoder.status().message();
    for (const size_t size : {1, 2, 5, 20, 31, 32, 33, 34, 80, 300}) {
      std::string word(size, 'a');
      for (char& c : word) c = static_cast<char>('a' + random() % (1 + random() % 4));
      std::vector<std::string> got;
      for (const int32_t id : EncodeWord(*encoder, word)) got.emplace_back(table.bytes(id));
      ASSERT_EQ(got, vocabulary.Encode(word)) << word;
    }
  }
}

}  // namespace
}  // namespace quire
