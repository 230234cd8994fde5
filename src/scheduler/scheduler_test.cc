#include "scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using Tokens = std::vector<int32_t>;

// A cache, a scheduler and a model that always draws token 7.
class SchedulerTest : public testing::Test {
 protected:
  void Make(const SchedulerConfig& config, const KvCacheOptions& cache) {
    cache_.emplace(cache);
    scheduler_.emplace(config, *cache_);
  }

  // Requests have disjoint prompts unless told otherwise.
  static RequestSpec Spec(uint64_t id, int32_t prompt, int32_t max_new_tokens) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt.resize(prompt);
    std::iota(spec.prompt.begin(), spec.prompt.end(), static_cast<int32_t>(id) * 10'000);
    spec.max_new_tokens = max_new_tokens;
    return spec;
  }
  void Add(const RequestSpec& spec) {
    const Status status = scheduler_->Add(spec, 0);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  std::vector<TokenEvent> Commit(const Step& step) {
    std::vector<SampledToken> sampled(step.batch.logit_rows.size());
    for (SampledToken& s : sampled) {
      s.token = 7;
    }
    std::vector<TokenEvent> events = scheduler_->Commit(step, sampled);
    ExpectSound();
    return events;
  }
  void ExpectSound() {
    const Status status = scheduler_->CheckInvariants();
    EXPECT_TRUE(status.ok()) << status.message();
  }

  // (request, rows) of the next step, which is run.
  std::vector<std::pair<uint64_t, int32_t>> RunStep() {
    const std::optional<Step> step = scheduler_->Schedule(0);
    std::vector<std::pair<uint64_t, int32_t>> rows;
    if (step) {
      for (const Step::Sequence& sequence : step->sequences) {
        rows.emplace_back(sequence.id, sequence.num_rows);
      }
      last_events_ = Commit(*step);
    }
    return rows;
  }

  // Requests end after the first of many tokens, so the scheduler forecasts that others do too.
  void LearnThatAnswersAreShort() {
    RequestSpec spec = Spec(9999, 1, 9);
    spec.stop_token_ids = {7};
    for (int i = 0; i < 200; ++i) {
      Add(spec);
      RunStep();
    }
  }

  std::optional<KvCache> cache_;
  std::optional<Scheduler> scheduler_;
  std::vector<TokenEvent> last_events_;
};

TEST_F(SchedulerTest, AnIdleSchedulerHasNoStep) {
  Make({}, {.page_size = 16, .num_pages = 8});
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_FALSE(scheduler_->Schedule(0).has_value());
}

TEST_F(SchedulerTest, RunsARequestToItsEnd) {
  Make({}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 6, 3));
  EXPECT_EQ(scheduler_->num_waiting(), 1);
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 6)));
  ASSERT_EQ(last_events_.size(), 1);
  EXPECT_EQ(last_events_[0].token->token, 7);
  EXPECT_EQ(last_events_[0].num_prompt, 6);
  EXPECT_FALSE(last_events_[0].finish_reason.has_value());
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1)));
  EXPECT_EQ(last_events_[0].finish_reason, FinishReason::kLength);
  EXPECT_EQ(last_events_[0].num_generated, 3);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(cache_->stats().owned_pages, 0);
  EXPECT_EQ(scheduler_->stats().finished, 1);
  EXPECT_EQ(scheduler_->stats().computed_rows, 8);
}

TEST_F(SchedulerTest, AStopTokenEndsIt) {
  Make({}, {.page_size = 4, .num_pages = 8});
  RequestSpec spec = Spec(1, 6, 3);
  spec.stop_token_ids = {5, 7};
  Add(spec);
  RunStep();
  EXPECT_EQ(last_events_[0].finish_reason, FinishReason::kStop);
}

TEST_F(SchedulerTest, ThePromptIsCutIntoChunks) {
  Make({.step_token_budget = 10, .max_prefill_chunk = 4}, {.page_size = 4, .num_pages = 16});
  Add(Spec(1, 9, 2));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 4)));
  EXPECT_THAT(last_events_, IsEmpty());
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 4)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1)));
  EXPECT_EQ(last_events_.size(), 1);
}

TEST_F(SchedulerTest, DecodeRowsComeFirstThenPrefillsInOrderOfArrival) {
  Make({.step_token_budget = 8, .max_prefill_chunk = 8}, {.page_size = 4, .num_pages = 32});
  Add(Spec(1, 3, 9));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 3)));
  Add(Spec(2, 10, 9));
  Add(Spec(3, 4, 9));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1), Pair(2, 7)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1), Pair(2, 3), Pair(3, 4)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1), Pair(2, 1), Pair(3, 1)));
}

TEST_F(SchedulerTest, NoMoreRequestsRunThanTheBudgetHasRows) {
  Make({.step_token_budget = 3, .max_prefill_chunk = 1}, {.page_size = 4, .num_pages = 32});
  Add(Spec(1, 20, 2));
  Add(Spec(2, 1, 9));
  Add(Spec(3, 1, 9));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1), Pair(2, 1), Pair(3, 1)));
  Add(Spec(4, 1, 9));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(2, 1), Pair(3, 1), Pair(1, 1)));
  EXPECT_EQ(scheduler_->num_running(), 3);
  EXPECT_THAT(RunStep(), ElementsAre(Pair(2, 1), Pair(3, 1), Pair(1, 1)));
}

TEST_F(SchedulerTest, MaxRunningLimitsTheSequences) {
  Make({.max_running = 2}, {.page_size = 4, .num_pages = 32});
  for (uint64_t id = 1; id <= 3; ++id) {
    Add(Spec(id, 3, 2));
  }
  EXPECT_EQ(RunStep().size(), 2);
  EXPECT_EQ(scheduler_->num_running(), 2);
  EXPECT_EQ(scheduler_->num_waiting(), 1);
  RunStep();
  EXPECT_THAT(RunStep(), ElementsAre(Pair(3, 3)));
}

TEST_F(SchedulerTest, ALikePromptWaitsForTheOneBeingComputed) {
  Make({}, {.page_size = 4, .num_pages = 32});
  RequestSpec spec = Spec(1, 12, 5);
  Add(spec);
  spec.id = 2;
  Add(spec);
  Add(Spec(3, 5, 5));
  // 2 would compute what 1 computes now; 3 need not wait for it.
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 12), Pair(3, 5)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1), Pair(3, 1), Pair(2, 4)));
  const auto of_second = std::ranges::find(last_events_, 2, &TokenEvent::id);
  ASSERT_NE(of_second, last_events_.end());
  EXPECT_EQ(of_second->cached_prompt_tokens, 8);
}

TEST_F(SchedulerTest, AFinishedHistoryIsFoundByTheNextTurn) {
  Make({}, {.page_size = 2, .num_pages = 32});
  RequestSpec spec = Spec(1, 5, 4);
  Add(spec);
  while (!scheduler_->idle()) {
    RunStep();
  }
  spec.id = 2;
  spec.prompt.insert(spec.prompt.end(), {7, 7, 7, 7, 1, 2});
  Add(spec);
  RunStep();
  EXPECT_EQ(last_events_[0].cached_prompt_tokens, 8);  // the last token drawn was never written
}

TEST_F(SchedulerTest, RefusesWhatCanNeverRun) {
  Make({.max_context = 50}, {.page_size = 4, .num_pages = 8});
  Status status = scheduler_->Add(Spec(1, 0, 1), 0);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  status = scheduler_->Add(Spec(1, 50, 1), 0);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("50 tokens"));
  status = scheduler_->Add(Spec(1, 30, 4), 0);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("33 tokens"));
  EXPECT_THAT(status.message(), HasSubstr("32"));
  Add(Spec(1, 30, 3));
  EXPECT_EQ(scheduler_->Add(Spec(1, 3, 3), 0).code(), StatusCode::kInvalidArgument);
}

TEST_F(SchedulerTest, AFullQueueRefuses) {
  Make({.max_waiting = 2}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 3, 3));
  Add(Spec(2, 3, 3));
  EXPECT_EQ(scheduler_->Add(Spec(3, 3, 3), 0).code(), StatusCode::kResourceExhausted);
  RunStep();
  Add(Spec(3, 3, 3));
}

TEST_F(SchedulerTest, TheContextIsABound) {
  Make({.max_context = 8}, {.page_size = 4, .num_pages = 2});
  Add(Spec(1, 6, 100));
  RunStep();
  EXPECT_FALSE(last_events_[0].finish_reason.has_value());
  RunStep();
  EXPECT_EQ(last_events_[0].finish_reason, FinishReason::kLength);
  EXPECT_EQ(last_events_[0].num_generated, 2);
}

TEST_F(SchedulerTest, ConfigIsChecked) {
  EXPECT_TRUE(SchedulerConfig{}.Validate().ok());
  EXPECT_FALSE(SchedulerConfig{.max_running = 0}.Validate().ok());
  EXPECT_FALSE(SchedulerConfig{.step_token_budget = 0}.Validate().ok());
  EXPECT_FALSE(SchedulerConfig{.max_prefill_chunk = 0}.Validate().ok());
  EXPECT_FALSE(SchedulerConfig{.max_context = 1}.Validate().ok());
  EXPECT_FALSE(SchedulerConfig{.max_waiting = 0}.Validate().ok());
}

TEST_F(SchedulerTest, OneStepAtATime) {
  Make({}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 6, 3));
  const std::optional<Step> step = scheduler_->Schedule(0);
  EXPECT_DEATH(scheduler_->Schedule(0), "in flight");
  Commit(*step);
  EXPECT_DEATH(Commit(*step), "ends twice");
}

// --- pages run out, requests go away ---

TEST_F(SchedulerTest, AdmissionCountsPagesAndGrowth) {
  Make({}, {.page_size = 4, .num_pages = 4});
  Add(Spec(1, 4, 8));  // one page, and will grow
  Add(Spec(2, 8, 1));  // two pages, will not grow
  Add(Spec(3, 2, 1));  // would fit, but its turn is after 2
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 4), Pair(2, 8)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1), Pair(3, 2)));
}

TEST_F(SchedulerTest, AdmissionCountsMatchedPagesThatStopBeingAvailable) {
  Make({}, {.page_size = 4, .num_pages = 4});
  RequestSpec like = Spec(1, 9, 1);
  Add(like);
  RunStep();
  EXPECT_EQ(cache_->stats().cached_pages, 2);
  Add(Spec(2, 4, 5));  // one page, and will grow
  like.id = 3;
  Add(like);  // two cached pages and a new one: none would be left to grow
  EXPECT_THAT(RunStep(), ElementsAre(Pair(2, 4)));
}

TEST_F(SchedulerTest, ARequestThatDoesNotFitBesideOthersWaits) {
  Make({}, {.page_size = 4, .num_pages = 4});
  Add(Spec(1, 4, 3));
  Add(Spec(2, 12, 1));
  Add(Spec(3, 2, 1));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 4)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(1, 1)));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(2, 12), Pair(3, 2)));
}

TEST_F(SchedulerTest, TheYoungestIsPreemptedAndComesBackWithItsTokens) {
  Make({}, {.page_size = 2, .num_pages = 6});
  LearnThatAnswersAreShort();
  Add(Spec(1, 2, 9));
  Add(Spec(2, 2, 9));
  std::map<uint64_t, int32_t> drawn;
  std::vector<uint64_t> ended;
  while (!scheduler_->idle()) {
    RunStep();
    for (const TokenEvent& event : last_events_) {
      EXPECT_EQ(event.num_generated, ++drawn[event.id]);
      if (event.finish_reason) {
        ended.push_back(event.id);
      }
    }
  }
  EXPECT_GE(scheduler_->stats().preemptions, 1);
  EXPECT_THAT(ended, ElementsAre(1, 2));
  EXPECT_EQ(drawn[1], 9);
  EXPECT_EQ(drawn[2], 9);
  // It found at least one of its own pages again.
  EXPECT_GT(cache_->stats().hit_tokens, 0);
}

TEST_F(SchedulerTest, CancelFreesPagesAtOnce) {
  Make({}, {.page_size = 4, .num_pages = 8, .prefix_caching = false});
  Add(Spec(1, 6, 9));
  Add(Spec(2, 6, 9));
  RunStep();
  EXPECT_EQ(cache_->stats().owned_pages, 4);
  EXPECT_TRUE(scheduler_->Cancel(1));
  EXPECT_EQ(cache_->stats().owned_pages, 2);
  EXPECT_FALSE(scheduler_->Cancel(1));
  EXPECT_FALSE(scheduler_->Cancel(99));
  EXPECT_THAT(RunStep(), ElementsAre(Pair(2, 1)));
}

TEST_F(SchedulerTest, CancelOfAWaitingRequestTakesItFromTheQueue) {
  Make({.max_running = 1}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 6, 1));
  Add(Spec(2, 6, 1));
  EXPECT_TRUE(scheduler_->Cancel(2));
  EXPECT_EQ(scheduler_->num_waiting(), 1);
  RunStep();
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerTest, CancelInFlightFreesPagesAtTheCommit) {
  Make({}, {.page_size = 4, .num_pages = 8, .prefix_caching = false});
  Add(Spec(1, 6, 9));
  Add(Spec(2, 6, 9));
  const std::optional<Step> step = scheduler_->Schedule(0);
  EXPECT_TRUE(scheduler_->Cancel(1));
  EXPECT_FALSE(scheduler_->Cancel(1));
  EXPECT_EQ(cache_->stats().owned_pages, 4);
  const std::vector<TokenEvent> events = Commit(*step);
  EXPECT_EQ(cache_->stats().owned_pages, 2);
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events[0].id, 2);
}

TEST_F(SchedulerTest, AFailedStepEndsItsRequestsAndSharesNothing) {
  Make({.max_running = 1}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 9, 9));
  Add(Spec(2, 6, 9));
  const std::optional<Step> step = scheduler_->Schedule(0);
  const std::vector<TokenEvent> events = scheduler_->Abandon(*step);
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events[0].id, 1);
  EXPECT_EQ(events[0].finish_reason, FinishReason::kError);
  EXPECT_EQ(cache_->stats().free_pages, 8);
  ExpectSound();
  EXPECT_THAT(RunStep(), ElementsAre(Pair(2, 6)));
}

TEST_F(SchedulerTest, ASchedulerThatGoesAwayGivesItsPagesBack) {
  Make({}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 9, 9));
  RunStep();
  scheduler_.reset();
  EXPECT_EQ(cache_->stats().owned_pages, 0);
  EXPECT_TRUE(cache_->CheckInvariants().ok());
}

}  // namespace
}  // namespace quire
