// Steps that are formed while another is in flight.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <vector>

#include "scheduler/scheduler.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tokens = std::vector<int32_t>;

class NoDrafts final : public DraftSource {
 public:
  void Propose(std::span<DraftQuery>) override {}
  void Forget(uint64_t) override {}
};

class EmptyStore final : public PageStore {
 public:
  int32_t num_slots() const override { return 8; }
  Status Put(int32_t, int32_t) override { return OkStatus(); }
  Status Get(int32_t, int32_t) override { return OkStatus(); }
};

class SchedulerAheadTest : public testing::Test {
 protected:
  void Make(const SchedulerConfig& config, const KvCacheOptions& cache,
            std::unique_ptr<DraftSource> drafts = nullptr) {
    cache_.emplace(cache);
    scheduler_.emplace(config, *cache_, std::move(drafts));
  }
  // Requests of one `text` have one prompt.
  void Add(uint64_t id, int32_t prompt, int32_t max_new_tokens, int32_t text = -1) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt.resize(static_cast<size_t>(prompt));
    std::iota(spec.prompt.begin(), spec.prompt.end(),
              1000 * (text < 0 ? static_cast<int32_t>(id) : text));
    spec.max_new_tokens = max_new_tokens;
    spec.stop_token_ids = {kStop};
    const Status status = scheduler_->Add(std::move(spec), 0);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  static std::vector<SampledToken> Drawn(const Tokens& tokens) {
    std::vector<SampledToken> sampled(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      sampled[i].token = tokens[i];
    }
    return sampled;
  }
  // Ids of the requests that have an event.
  Tokens Commit(const Step& step, const Tokens& drawn) {
    Tokens ids;
    for (const TokenEvent& event : scheduler_->Commit(step, Drawn(drawn))) {
      ids.push_back(static_cast<int32_t>(event.id));
    }
    ExpectSound();
    return ids;
  }
  void ExpectSound() {
    const Status status = scheduler_->CheckInvariants();
    EXPECT_TRUE(status.ok()) << status.message();
  }

  static constexpr int32_t kStop = 9;
  std::optional<KvCache> cache_;
  std::optional<Scheduler> scheduler_;
};

TEST_F(SchedulerAheadTest, TheTokenOfTheStepBeforeIsFilledIn) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 5, 8);
  Add(2, 3, 8);
  const Step first = *scheduler_->Schedule(0);
  std::optional<Step> ahead = scheduler_->ScheduleAhead(first, 0);
  ASSERT_TRUE(ahead.has_value());
  ExpectSound();
  EXPECT_THAT(ahead->batch.tokens, ElementsAre(DrawnToken(0), DrawnToken(1)));
  EXPECT_THAT(ahead->batch.positions, ElementsAre(5, 3));
  EXPECT_THAT(ahead->sample_positions, ElementsAre(1, 1));
  EXPECT_THAT(ahead->history[0].output, ElementsAre(DrawnToken(0)));
  EXPECT_THAT(ahead->history[1].output, ElementsAre(DrawnToken(1)));
  scheduler_->FillTokens(*ahead, Drawn({70, 80}));
  EXPECT_THAT(ahead->batch.tokens, ElementsAre(70, 80));
  EXPECT_THAT(ahead->history[0].output, ElementsAre(70));
  EXPECT_THAT(ahead->history[1].output, ElementsAre(80));
  EXPECT_THAT(Commit(first, {70, 80}), ElementsAre(1, 2));
  EXPECT_THAT(ahead->history[0].output, ElementsAre(70));
  EXPECT_THAT(Commit(*ahead, {71, 81}), ElementsAre(1, 2));
}

TEST_F(SchedulerAheadTest, ARequestWhoseEndIsKnownHasNoRowAhead) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 5, 1);
  const Step first = *scheduler_->Schedule(0);
  EXPECT_FALSE(scheduler_->ScheduleAhead(first, 0).has_value());
  EXPECT_THAT(Commit(first, {70}), ElementsAre(1));
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerAheadTest, TheRowOfARequestThatStoppedIsDropped) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 4, 8);
  const Step first = *scheduler_->Schedule(0);
  std::optional<Step> ahead = scheduler_->ScheduleAhead(first, 0);
  scheduler_->FillTokens(*ahead, Drawn({kStop}));
  EXPECT_THAT(Commit(first, {kStop}), ElementsAre(1));
  EXPECT_EQ(cache_->stats().owned_pages, 2) << "the step ahead still writes its page";
  EXPECT_FALSE(scheduler_->Cancel(1));
  EXPECT_THAT(Commit(*ahead, {50}), IsEmpty());
  EXPECT_EQ(cache_->stats().owned_pages, 0);
  EXPECT_EQ(cache_->stats().cached_pages, 1);
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerAheadTest, PagesOfACancelledRequestStayUntilTheLastStepThatHasItEnds) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 4, 8);
  const Step first = *scheduler_->Schedule(0);
  std::optional<Step> ahead = scheduler_->ScheduleAhead(first, 0);
  EXPECT_TRUE(scheduler_->Cancel(1));
  scheduler_->FillTokens(*ahead, Drawn({-5}));
  EXPECT_THAT(ahead->batch.tokens, ElementsAre(0)) << "what could not be drawn is no token";
  EXPECT_THAT(Commit(first, {-5}), IsEmpty());
  EXPECT_EQ(cache_->stats().owned_pages, 2);
  EXPECT_THAT(Commit(*ahead, {50}), IsEmpty());
  EXPECT_EQ(cache_->stats().free_pages, 16);
}

TEST_F(SchedulerAheadTest, WithoutAPageForAllNothingIsFormedAheadAndNobodyPreempted) {
  Make({.max_context = 12}, {.page_size = 4, .num_pages = 3, .prefix_caching = false});
  for (int i = 0; i < 200; ++i) {  // so that answers are expected to be short
    Add(99, 1, 8);
    Commit(*scheduler_->Schedule(0), {kStop});
  }
  Add(1, 1, 8);
  Add(2, 1, 8);
  std::optional<Step> step = scheduler_->Schedule(0);
  for (int i = 0; i < 3; ++i) {
    std::optional<Step> ahead = scheduler_->ScheduleAhead(*step, 0);
    ASSERT_EQ(ahead->sequences.size(), 2u);
    scheduler_->FillTokens(*ahead, Drawn({70, 80}));
    Commit(*step, {70, 80});
    step = std::move(ahead);
  }
  // Two pages are full and one is left.
  EXPECT_FALSE(scheduler_->ScheduleAhead(*step, 0).has_value());
  ExpectSound();
  EXPECT_EQ(cache_->stats().free_pages, 1) << "what was taken for it is given back";
  EXPECT_EQ(scheduler_->num_running(), 2);
  Commit(*step, {70, 80});
  EXPECT_EQ(scheduler_->Schedule(0)->sequences.size(), 1u);
}

TEST_F(SchedulerAheadTest, NothingIsFormedAheadOfWhatMayHaveDrafts) {
  Make({.max_draft_step_rows = 8}, {.page_size = 4, .num_pages = 16}, std::make_unique<NoDrafts>());
  Add(1, 9, 8);
  const Step first = *scheduler_->Schedule(0);
  std::optional<Step> second = scheduler_->ScheduleAhead(first, 0);
  ASSERT_TRUE(second.has_value()) << "9 rows have no drafts";
  scheduler_->FillTokens(*second, Drawn({70}));
  Commit(first, {70});
  EXPECT_FALSE(scheduler_->ScheduleAhead(*second, 0).has_value());
  Commit(*second, {71});
}

TEST_F(SchedulerAheadTest, AFailedStepTakesTheOneAheadOfItBack) {
  Make({.step_token_budget = 6}, {.page_size = 4, .num_pages = 16});
  Add(1, 6, 8);
  const Step first = *scheduler_->Schedule(0);
  Add(2, 5, 8);
  std::optional<Step> ahead = scheduler_->ScheduleAhead(first, 0);
  ASSERT_EQ(ahead->sequences.size(), 2u);
  const std::vector<TokenEvent> events = scheduler_->Abandon(first);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, 1u);
  ExpectSound();
  const Step again = *scheduler_->Schedule(0);
  ASSERT_EQ(again.sequences.size(), 1u);
  EXPECT_EQ(again.sequences[0].id, 2u);
  EXPECT_THAT(again.batch.positions, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(Commit(again, {80}), ElementsAre(2));
}

TEST_F(SchedulerAheadTest, ARequestFollowsWhatTheStepInFlightComputes) {
  Make({}, {.page_size = 4, .num_pages = 16});
  Add(1, 9, 4, 5);
  const Step first = *scheduler_->Schedule(0);
  Add(2, 9, 4, 5);
  std::optional<Step> ahead = scheduler_->ScheduleAhead(first, 0);
  ASSERT_EQ(ahead->sequences.size(), 1u) << "request 2 computes the prompt again";
  scheduler_->FillTokens(*ahead, Drawn({70}));
  Commit(first, {70});
  std::optional<Step> second = scheduler_->ScheduleAhead(*ahead, 0);
  ASSERT_EQ(second->sequences.size(), 2u);
  EXPECT_EQ(second->sequences[1].num_rows, 1) << "two pages of the prompt are shared";
}

// Its copies run beside the steps, into pages that the one in flight may still use.
TEST_F(SchedulerAheadTest, NothingComesFromATierWhileAStepIsInFlight) {
  std::vector<std::unique_ptr<PageTier>> tiers;
  tiers.push_back(std::make_unique<PageTier>("empty", std::make_unique<EmptyStore>()));
  cache_.emplace(KvCacheOptions{.page_size = 4, .num_pages = 4}, std::move(tiers));
  scheduler_.emplace(SchedulerConfig{}, *cache_);
  Add(1, 9, 1, 5);
  Commit(*scheduler_->Schedule(0), {70});
  ASSERT_TRUE(cache_->PollTiers().ok());
  ASSERT_TRUE(cache_->WaitForTiers().ok());
  Add(2, 15, 1);  // needs all pages
  Commit(*scheduler_->Schedule(0), {70});
  Add(3, 1, 4);
  const Step step = *scheduler_->Schedule(0);
  Add(4, 9, 1, 5);
  EXPECT_FALSE(scheduler_->ScheduleAhead(step, 0).has_value());
  EXPECT_FALSE(cache_->is_loading());
  Commit(step, {70});
  const Step next = *scheduler_->Schedule(0);
  EXPECT_TRUE(cache_->is_loading());
  Commit(next, {70});
}

}  // namespace
}  // namespace quire
