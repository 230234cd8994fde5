#include "tokenizer/spm_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>
#include <string>

#include "base/test_seed.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Vocabulary {
  TokenTable table{64, 0};
  SpmEncoder::Spec spec;

  Vocabulary() { spec.byte_tokens.fill(-1); }
  int32_t Add(std::string_view piece, float score) {
    const int32_t id = table.size();
    table.Add(piece);
    spec.scores.push_back(score);
    EXPECT_EQ(table.Index(std::vector<int32_t>{id}), -1);
    return id;
  }
};

std::vector<int32_t> Encode(const Vocabulary& vocabulary, std::string_view text) {
  const Result<SpmEncoder> encoder = SpmEncoder::Create(vocabulary.table, vocabulary.spec);
  EXPECT_TRUE(encoder.ok()) << encoder.status().message();
  std::vector<int32_t> ids;
  encoder->Encode(text, &ids);
  return ids;
}

TEST(SpmEncoderTest, BestScoreFirstThenLeftmost) {
  Vocabulary v;
  v.spec.unknown_id = v.Add("<unk>", 0);
  const int32_t a = v.Add("a", -9);
  const int32_t b = v.Add("b", -9);
  const int32_t ab = v.Add("ab", -2);
  const int32_t bb = v.Add("bb", -1);
  const int32_t aa = v.Add("aa", 1.5f);
  const int32_t aaa = v.Add("aaa", 2.5f);
  EXPECT_THAT(Encode(v, "abb"), ElementsAre(a, bb));
  EXPECT_THAT(Encode(v, "aba"), ElementsAre(ab, a));
  EXPECT_THAT(Encode(v, "bbb"), ElementsAre(bb, b));
  EXPECT_THAT(Encode(v, "aaab"), ElementsAre(aaa, b));
  EXPECT_THAT(Encode(v, "aab"), ElementsAre(aa, b));
  EXPECT_THAT(Encode(v, ""), ElementsAre());
}

TEST(SpmEncoderTest, UncoveredCharactersBecomeByteTokensOrUnknown) {
  Vocabulary v;
  v.spec.unknown_id = v.Add("<unk>", 0);
  const int32_t e2 = v.Add("\1", 0);  // any piece will do
  v.spec.byte_tokens[0xE2] = e2;
  const int32_t x = v.Add("x", 0);
  EXPECT_THAT(Encode(v, "x\xE2\x82\xACx"), ElementsAre(x, e2, 0, 0, x));
  EXPECT_THAT(Encode(v, "\xE2x"), ElementsAre(e2, x));
}

TEST(SpmEncoderTest, MissingByteTokensNeedAnUnknownToken) {
  Vocabulary v;
  v.Add("x", 0);
  const Result<SpmEncoder> encoder = SpmEncoder::Create(v.table, v.spec);
  ASSERT_FALSE(encoder.ok());
  EXPECT_EQ(encoder.status().code(), StatusCode::kCorruptData);
  EXPECT_THAT(encoder.status().message(), HasSubstr("tokenizer.ggml.unknown_token_id"));
}

TEST(SpmEncoderTest, ScoresMustBeNumbers) {
  Vocabulary v;
  v.spec.unknown_id = v.Add("x", 0);
  v.Add("y", std::numeric_limits<float>::quiet_NaN());
  const Result<SpmEncoder> encoder = SpmEncoder::Create(v.table, v.spec);
  ASSERT_FALSE(encoder.ok());
  EXPECT_THAT(encoder.status().message(), HasSubstr("tokenizer.ggml.scores[1]"));
}

// The definition: join the best pair, leftmost first, until none is left.
std::vector<std::string> EncodeByDefinition(const std::map<std::string, float>& scores,
                                            std::string_view text) {
  std::vector<std::string> pieces;
  for (const char c : text) pieces.emplace_back(1, c);
  while (true) {
    size_t best = pieces.size();
    float best_score = -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      const auto joined = scores.find(pieces[i] + pieces[i + 1]);
      if (joined != scores.end() && joined->second > best_score) {
        best = i;
        best_score = joined->second;
      }
    }
    if (best == pieces.size()) return pieces;
    pieces[best] += pieces[best + 1];
    pieces.erase(pieces.begin() + static_cast<int64_t>(best) + 1);
  }
}

TEST(SpmEncoderTest, FollowsTheDefinitionOnRandomVocabularies) {
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 100; ++round) {
    Vocabulary v;
    v.spec.unknown_id = 0;
    std::map<std::string, float> scores;
    for (const char* letter : {"a", "b", "c"}) scores[letter] = 0;
    while (scores.size() < 40) {
      std::string piece(2 + random() % 4, 'a');
      for (char& c : piece) c = static_cast<char>('a' + random() % 3);
      scores[piece] = static_cast<float>(random() % 20) - 10.0f;  // equal ones too
    }
    for (const auto& [piece, score] : scores) v.Add(piece, score);
    std::string text(random() % 60, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 3);
    std::vector<std::string> got;
    for (const int32_t id : Encode(v, text)) got.emplace_back(v.table.bytes(id));
    ASSERT_EQ(got, EncodeByDefinition(scores, text)) << text;
  }
}

}  // namespace
}  // namespace quire
