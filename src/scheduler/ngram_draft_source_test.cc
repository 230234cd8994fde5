#include "scheduler/ngram_draft_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tokens = std::vector<int32_t>;

Tokens Propose(NgramDraftSource& source, const Tokens& tokens, int32_t most, uint64_t id = 1) {
  DraftQuery query = {.id = id, .tokens = tokens, .most = most, .drafts = {}};
  source.Propose(std::span(&query, 1));
  return query.drafts;
}

TEST(NgramDraftSource, ProposesWhatFollowedTheLastThreeTokens) {
  NgramDraftSource source;
  EXPECT_THAT(Propose(source, {1, 2, 3, 4, 5, 6, 9, 1, 2, 3}, 2), ElementsAre(4, 5));
}

TEST(NgramDraftSource, TheLastPlaceWins) {
  NgramDraftSource source;
  EXPECT_THAT(Propose(source, {1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3}, 1), ElementsAre(5));
}

TEST(NgramDraftSource, ATextThatEndsRepeats) {
  NgramDraftSource source;
  EXPECT_THAT(Propose(source, {7, 7, 7, 7}, 3), ElementsAre(7, 7, 7));
  EXPECT_THAT(Propose(source, {1, 2, 3, 1, 2, 3}, 5, 2), ElementsAre(1, 2, 3, 1, 2));
}

TEST(NgramDraftSource, NoPlaceNoProposal) {
  NgramDraftSource source;
  EXPECT_THAT(Propose(source, {1}, 4), IsEmpty());
  EXPECT_THAT(Propose(source, {1, 2, 3}, 4), IsEmpty());
  EXPECT_THAT(Propose(source, {1, 2, 3, 2, 3}, 4), IsEmpty());
}

TEST(NgramDraftSource, AnEndedRequestIsForgotten) {
  NgramDraftSource source;
  Propose(source, {1, 2, 3, 4, 5, 6}, 1);
  source.Forget(1);
  EXPECT_THAT(Propose(source, {9, 9, 1, 2, 3}, 1), IsEmpty());
}

// As a plain search from the end, while the text grows token by token or in leaps.
TEST(NgramDraftSource, FindsWhatASearchFinds) {
  std::mt19937 random(7);
  NgramDraftSource source;
  Tokens tokens;
  for (int round = 0; round < 2000; ++round) {
    for (auto leap = 1 + random() % 4; leap > 0; --leap) {
      tokens.push_back(static_cast<int32_t>(random() % 6));
    }
    Tokens expected;
    for (auto start = static_cast<int32_t>(tokens.size()) - 4; start >= 0 && expected.empty();
         --start) {
      if (std::equal(tokens.end() - 3, tokens.end(), tokens.begin() + start)) {
        expected = {tokens[start + 3]};
      }
    }
    ASSERT_EQ(Propose(source, tokens, 1), expected) << round;
  }
}

}  // namespace
}  // namespace quire
