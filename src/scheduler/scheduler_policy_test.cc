// The scheduler with each policy: who starts first, who is preempted, how many start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "scheduler/scheduler.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SchedulerPolicyTest : public testing::Test {
 protected:
  void Make(const SchedulerConfig& config, const KvCacheOptions& cache) {
    cache_.emplace(cache);
    scheduler_.emplace(config, *cache_);
  }
  static RequestSpec Spec(uint64_t id, int32_t prompt, int32_t max_new_tokens) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt.resize(prompt);
    std::iota(spec.prompt.begin(), spec.prompt.end(), static_cast<int32_t>(id) * 10'000);
    spec.max_new_tokens = max_new_tokens;
    return spec;
  }
  void Add(RequestSpec spec, int32_t priority = 0, const std::string& tenant = "") {
    spec.priority = priority;
    spec.tenant = tenant;
    const Status status = scheduler_->Add(std::move(spec), now_ms_);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  // The requests of the next step, which is run.
  std::vector<uint64_t> RunStep() {
    std::vector<uint64_t> ids;
    const std::optional<Step> step = scheduler_->Schedule(now_ms_);
    if (!step) {
      return ids;
    }
    for (const Step::Sequence& sequence : step->sequences) {
      ids.push_back(sequence.id);
    }
    std::vector<SampledToken> sampled(step->batch.logit_rows.size());
    for (SampledToken& token : sampled) {
      token.token = 7;
    }
    scheduler_->Commit(*step, sampled);
    EXPECT_TRUE(scheduler_->CheckInvariants().ok()) << scheduler_->CheckInvariants().message();
    return ids;
  }
  // The order in which requests of one step each are served, one a step.
  std::vector<uint64_t> ServeAll() {
    std::vector<uint64_t> order;
    while (!scheduler_->idle()) {
      order.push_back(RunStep().front());
    }
    return order;
  }

  std::optional<KvCache> cache_;
  std::optional<Scheduler> scheduler_;
  int64_t now_ms_ = 0;
};

TEST_F(SchedulerPolicyTest, PrioritiesNeedAPolicyThatKnowsThem) {
  Make({}, {.page_size = 4, .num_pages = 8});
  RequestSpec spec = Spec(1, 2, 1);
  spec.priority = -1;
  EXPECT_THAT(scheduler_->Add(spec, 0).message(), HasSubstr("priority is -1"));
  spec.priority = 0;
  spec.deadline_ms = 5;
  EXPECT_EQ(scheduler_->Add(spec, 0).code(), StatusCode::kInvalidArgument);
}

TEST_F(SchedulerPolicyTest, TheLowerPriorityNumberStartsFirst) {
  Make({.max_running = 1, .queue_policy = QueuePolicy::kPriority},
       {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 2, 1), 3);
  Add(Spec(2, 2, 1), 0);
  Add(Spec(3, 2, 1), -2);
  Add(Spec(4, 2, 1), 0);
  EXPECT_THAT(ServeAll(), ElementsAre(3, 2, 4, 1));
}

TEST_F(SchedulerPolicyTest, WaitingMakesUpForPriority) {
  Make({.max_running = 1, .queue_policy = QueuePolicy::kPriority},
       {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 2, 1), 1);
  now_ms_ = kAgingMs - 1;
  Add(Spec(2, 2, 1), 0);
  now_ms_ = kAgingMs + 1;
  Add(Spec(3, 2, 1), 0);
  EXPECT_THAT(ServeAll(), ElementsAre(2, 1, 3));
}

TEST_F(SchedulerPolicyTest, ADeadlineGoesBeforePatience) {
  Make({.max_running = 1, .queue_policy = QueuePolicy::kPriority},
       {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 2, 1));
  RequestSpec soon = Spec(2, 2, 1);
  soon.deadline_ms = 1000;
  Add(soon);
  EXPECT_THAT(ServeAll(), ElementsAre(2, 1));
}

TEST_F(SchedulerPolicyTest, TheVictimIsTheOneWithTheLowestPriority) {
  Make({.queue_policy = QueuePolicy::kPriority}, {.page_size = 1, .num_pages = 20});
  // Short answers are learned, so both start and outgrow the pool.
  for (int i = 0; i < 200; ++i) {
    RequestSpec spec = Spec(99, 1, 9);
    spec.stop_token_ids = {7};
    Add(spec);
    RunStep();
  }
  Add(Spec(1, 2, 14), 5);  // the elder
  RunStep();
  Add(Spec(2, 2, 14), 0);
  std::vector<uint64_t> last;
  while (!scheduler_->idle()) {
    last = RunStep();
  }
  EXPECT_EQ(scheduler_->stats().preemptions, 1);
  EXPECT_THAT(last, ElementsAre(1));  // though it began first
}

TEST_F(SchedulerPolicyTest, TenantsAreServedAlike) {
  Make({.max_running = 1, .queue_policy = QueuePolicy::kFair}, {.page_size = 4, .num_pages = 8});
  for (uint64_t id = 1; id <= 4; ++id) {
    Add(Spec(id, 2, 1), 0, "many");
  }
  Add(Spec(11, 2, 1), 0, "few");
  Add(Spec(12, 2, 1), 0, "few");
  EXPECT_THAT(ServeAll(), ElementsAre(1, 11, 2, 12, 3, 4));
}

TEST_F(SchedulerPolicyTest, TokensDrawnCountToTheTenant) {
  Make({.max_running = 1, .queue_policy = QueuePolicy::kFair}, {.page_size = 4, .num_pages = 8});
  Add(Spec(1, 2, 9), 0, "talks");
  for (uint64_t id = 2; id <= 4; ++id) {
    Add(Spec(id, 2, 1), 0, "asks");
  }
  Add(Spec(5, 2, 1), 0, "talks");
  std::vector<uint64_t> order = ServeAll();
  order.erase(std::unique(order.begin(), order.end()), order.end());
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(SchedulerPolicyTest, CachedTokensAreNotCharged) {
  Make({.max_running = 1, .queue_policy = QueuePolicy::kFair}, {.page_size = 1, .num_pages = 99});
  RequestSpec spec = Spec(1, 40, 1);
  Add(spec, 0, "warms the cache");
  RunStep();
  spec.id = 2;
  Add(spec, 0, "cached");
  spec.id = 3;
  Add(spec, 0, "cached");
  Add(Spec(4, 8, 1), 0, "cold");
  Add(Spec(5, 8, 1), 0, "cold");
  EXPECT_THAT(ServeAll(), ElementsAre(2, 4, 3, 5));
}

TEST_F(SchedulerPolicyTest, NoMoreStartThanTheForecastHasPagesFor) {
  Make({}, {.page_size = 1, .num_pages = 30});
  for (uint64_t id = 1; id <= 5; ++id) {
    Add(Spec(id, 2, 9), 0);  // 10 tokens of KV each
  }
  EXPECT_EQ(RunStep().size(), 3u);
  while (!scheduler_->idle()) {
    RunStep();
  }
  EXPECT_EQ(scheduler_->stats().preemptions, 0);
}

TEST_F(SchedulerPolicyTest, ARequestThatEndsSoonMakesRoomForOneThatGrows) {
  Make({}, {.page_size = 1, .num_pages = 30});
  Add(Spec(1, 20, 2), 0);  // ends with 21 tokens of KV, before the other has that many
  Add(Spec(2, 2, 28), 0);  // ends with 29
  EXPECT_EQ(RunStep().size(), 2u);
}

// Serves an urgent request and then another, of 3 pages each, and then one that takes 3 of all 6:
// who has its pages evicted?
TEST_F(SchedulerPolicyTest, WhatUrgentRequestsLeaveIsKeptLongerForAWhile) {
  for (const int64_t later_ms : {int64_t{0}, (kLowestPriority + 10) * kAgingMs}) {
    now_ms_ = 0;
    Make({.queue_policy = QueuePolicy::kPriority},
         {.page_size = 4, .num_pages = 6, .eviction = EvictionKind::kPriority});
    Add(Spec(1, 12, 1), kHighestPriority);
    RunStep();
    Add(Spec(2, 12, 1));
    RunStep();
    now_ms_ = later_ms;
    Add(Spec(3, 12, 1));
    RunStep();
    const bool expired = later_ms > 0;
    EXPECT_EQ(cache_->Lookup(Spec(1, 13, 1).prompt).tokens, expired ? 0 : 12);
    EXPECT_EQ(cache_->Lookup(Spec(2, 13, 1).prompt).tokens, expired ? 12 : 0);
  }
}

}  // namespace
}  // namespace quire
