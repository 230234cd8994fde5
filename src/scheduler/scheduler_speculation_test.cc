// The scheduler with drafts: their rows, their pages, and what comes of the right and wrong ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <vector>

#include "scheduler/scheduler.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using Tokens = std::vector<int32_t>;

// Proposes what a test says, cut to what is asked for.
class ScriptedDrafts final : public DraftSource {
 public:
  void Propose(std::span<DraftQuery> queries) override {
    for (DraftQuery& query : queries) {
      asked.emplace_back(query.id, query.most);
      query.drafts = script;
      query.drafts.resize(std::min<size_t>(script.size(), query.most));
    }
  }
  void Forget(uint64_t id) override { forgotten.push_back(id); }

  Tokens script;
  std::vector<std::pair<uint64_t, int32_t>> asked;
  std::vector<uint64_t> forgotten;
};

class SchedulerSpeculationTest : public testing::Test {
 protected:
  void Make(const SchedulerConfig& config, const KvCacheOptions& cache) {
    cache_.emplace(cache);
    auto drafts = std::make_unique<ScriptedDrafts>();
    drafts_ = drafts.get();
    scheduler_.emplace(config, *cache_, std::move(drafts));
  }
  void Add(uint64_t id, int32_t prompt, int32_t max_new_tokens, Tokens stops = {}) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt.assign(prompt, static_cast<int32_t>(id));
    spec.max_new_tokens = max_new_tokens;
    spec.stop_token_ids = std::move(stops);
    const Status status = scheduler_->Add(std::move(spec), 0);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  // Draws `drawn` in the rows of the next step; returns the tokens of its events.
  Tokens RunStep(const Tokens& drawn) {
    step_ = scheduler_->Schedule(0);
    EXPECT_EQ(step_->batch.logit_rows.size(), drawn.size());
    std::vector<SampledToken> sampled(drawn.size());
    for (size_t i = 0; i < drawn.size(); ++i) {
      sampled[i].token = drawn[i];
    }
    Tokens tokens;
    events_ = scheduler_->Commit(*step_, sampled);
    for (const TokenEvent& event : events_) {
      tokens.push_back(event.token->token);
      EXPECT_EQ(drawn[event.sample], event.token->token);
    }
    EXPECT_TRUE(scheduler_->CheckInvariants().ok()) << scheduler_->CheckInvariants().message();
    return tokens;
  }

  std::optional<KvCache> cache_;
  std::optional<Scheduler> scheduler_;
  ScriptedDrafts* drafts_ = nullptr;
  std::optional<Step> step_;
  std::vector<TokenEvent> events_;
};

TEST_F(SchedulerSpeculationTest, RightDraftsAndOneMoreTokenAreTaken) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 5, 20);
  RunStep({50});
  drafts_->script = {51, 52, 53};
  EXPECT_THAT(RunStep({51, 52, 53, 54}), ElementsAre(51, 52, 53, 54));
  EXPECT_THAT(step_->batch.tokens, ElementsAre(50, 51, 52, 53));
  EXPECT_THAT(step_->batch.positions, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(step_->sample_positions, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(step_->batch.logit_rows, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(events_.back().num_generated, 5);
  EXPECT_EQ(scheduler_->stats().drafted, 3);
  EXPECT_EQ(scheduler_->stats().accepted, 3);
}

TEST_F(SchedulerSpeculationTest, TokensBehindAWrongDraftAreDroppedWithTheirPages) {
  Make({}, {.page_size = 2, .num_pages = 16, .prefix_caching = false});
  Add(1, 4, 20);
  RunStep({50});
  drafts_->script = {51, 77, 53};
  EXPECT_THAT(RunStep({51, 52, 53, 54}), ElementsAre(51, 52));
  EXPECT_EQ(cache_->stats().owned_pages, 3);  // 6 tokens: the prompt, 50 and 51
  drafts_->script = {};
  RunStep({53});
  EXPECT_THAT(step_->batch.tokens, ElementsAre(52));
  EXPECT_THAT(step_->batch.positions, ElementsAre(6));
}

TEST_F(SchedulerSpeculationTest, AWrongDraftsPagesAreNotPublished) {
  Make({}, {.page_size = 1, .num_pages = 16});
  Add(1, 2, 3);
  RunStep({50});
  drafts_->script = {77};
  RunStep({51, 99});
  drafts_->script = {};
  RunStep({52});
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(cache_->Lookup(Tokens{1, 1, 50, 77, 0}).tokens, 3);
  EXPECT_EQ(cache_->Lookup(Tokens{1, 1, 50, 51, 0}).tokens, 4);
}

TEST_F(SchedulerSpeculationTest, EachRowsHistoryHoldsTheDraftsBeforeIt) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 3, 20);
  RunStep({50});
  drafts_->script = {51, 52};
  const std::optional<Step> step = scheduler_->Schedule(0);
  ASSERT_EQ(step->history.size(), 3u);
  EXPECT_EQ(step->history[0].prompt.size(), 3u);
  EXPECT_THAT(step->history[0].output, ElementsAre(50));
  EXPECT_THAT(step->history[1].output, ElementsAre(50, 51));
  EXPECT_THAT(step->history[2].output, ElementsAre(50, 51, 52));
  scheduler_->Abandon(*step);
}

TEST_F(SchedulerSpeculationTest, AStopTokenAmongTheDraftsEndsIt) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 3, 20, {52});
  RunStep({50});
  drafts_->script = {51, 52, 53};
  EXPECT_THAT(RunStep({51, 52, 53, 54}), ElementsAre(51, 52));
  EXPECT_EQ(events_.back().finish_reason, FinishReason::kStop);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_THAT(drafts_->forgotten, ElementsAre(1));
  EXPECT_EQ(cache_->stats().owned_pages, 0);
}

TEST_F(SchedulerSpeculationTest, NoMoreDraftsThanTokensAreLeft) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 3, 4);
  RunStep({50});
  drafts_->script = {51, 52, 53, 54, 55};
  EXPECT_THAT(RunStep({51, 52, 53}), ElementsAre(51, 52, 53));
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerSpeculationTest, DraftsTakeWhatTheBudgetLeaves) {
  Make({.step_token_budget = 12, .max_draft_step_rows = 6}, {.page_size = 4, .num_pages = 32});
  Add(1, 3, 20);
  Add(2, 3, 20);
  RunStep({50, 50});
  drafts_->script = {51, 52, 53, 54, 55};
  const std::optional<Step> step = scheduler_->Schedule(0);
  EXPECT_EQ(step->batch.num_tokens(), 6);
  EXPECT_EQ(step->sequences[0].num_samples, 4);
  EXPECT_EQ(step->sequences[1].num_samples, 2);
  scheduler_->Abandon(*step);
}

TEST_F(SchedulerSpeculationTest, NothingIsEvictedForADraft) {
  Make({}, {.page_size = 1, .num_pages = 9});
  Add(1, 4, 1);
  RunStep({9});
  EXPECT_EQ(cache_->stats().cached_pages, 4);
  Add(2, 3, 5);
  RunStep({50});
  drafts_->script = {51, 52, 53};
  // Its 4 tokens and 4 cached ones leave one page.
  const std::optional<Step> step = scheduler_->Schedule(0);
  EXPECT_EQ(step->sequences[0].num_rows, 2);
  EXPECT_EQ(cache_->stats().evicted_pages, 0);
  scheduler_->Abandon(*step);
}

TEST_F(SchedulerSpeculationTest, ACancelInFlightGivesTheDraftsPagesBack) {
  Make({}, {.page_size = 1, .num_pages = 32, .prefix_caching = false});
  Add(1, 3, 20);
  RunStep({50});
  drafts_->script = {51, 52};
  const std::optional<Step> step = scheduler_->Schedule(0);
  EXPECT_EQ(cache_->stats().owned_pages, 6);
  scheduler_->Cancel(1);
  EXPECT_TRUE(scheduler_->Commit(*step, std::vector<SampledToken>(3)).empty());
  EXPECT_EQ(cache_->stats().free_pages, 32);
}

TEST_F(SchedulerSpeculationTest, DraftsThatAreNeverRightAreNoLongerAskedFor) {
  Make({}, {.page_size = 16, .num_pages = 64});
  Add(1, 3, 500);
  RunStep({50});
  drafts_->script = {51};
  while (!scheduler_->idle()) {
    const std::optional<Step> step = scheduler_->Schedule(0);
    scheduler_->Commit(*step, std::vector<SampledToken>(step->batch.logit_rows.size()));
  }
  EXPECT_LT(drafts_->asked.size(), 15u);
}

}  // namespace
}  // namespace quire
