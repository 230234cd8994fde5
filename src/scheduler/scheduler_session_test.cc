// What a session keeps of its requests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <vector>

#include "scheduler/scheduler.h"

namespace quire {
namespace {

class SchedulerSessionTest : public testing::Test {
 protected:
  void Make(int32_t max_pinned_pages) {
    cache_.emplace(
        KvCacheOptions{.page_size = 4, .num_pages = 8, .max_pinned_pages = max_pinned_pages});
    scheduler_.emplace(SchedulerConfig{}, *cache_);
  }
  static RequestSpec Spec(uint64_t id, const std::string& session) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt.resize(9);
    std::iota(spec.prompt.begin(), spec.prompt.end(), static_cast<int32_t>(id) * 1000);
    spec.max_new_tokens = 3;
    spec.session = session;
    spec.session_ttl_ms = session.empty() ? 0 : 50;
    return spec;
  }
  Step Schedule() { return *scheduler_->Schedule(now_ms_); }
  void Commit(const Step& step) {
    scheduler_->Commit(step, std::vector<SampledToken>(step.batch.logit_rows.size()));
  }
  void Serve(const RequestSpec& spec) {
    ASSERT_TRUE(scheduler_->Add(spec, now_ms_).ok());
    while (!scheduler_->idle()) {
      Commit(Schedule());
      EXPECT_TRUE(scheduler_->CheckInvariants().ok()) << scheduler_->CheckInvariants().message();
    }
  }

  std::optional<KvCache> cache_;
  std::optional<Scheduler> scheduler_;
  int64_t now_ms_ = 0;
};

TEST_F(SchedulerSessionTest, KeepsTheHistoryOfItsLastRequestForItsTime) {
  Make(4);
  Serve(Spec(1, "a"));
  EXPECT_EQ(cache_->stats().pinned_pages, 2);
  Serve(Spec(2, "a"));
  EXPECT_EQ(cache_->stats().pinned_pages, 2) << "those of request 1 are replaced";
  for (uint64_t id = 10; id < 20; ++id) {
    Serve(Spec(id, ""));
  }
  EXPECT_EQ(cache_->Lookup(Spec(2, "").prompt).tokens, 8);
  EXPECT_EQ(cache_->Lookup(Spec(1, "").prompt).tokens, 0);
  now_ms_ = 50;
  Serve(Spec(20, ""));
  EXPECT_EQ(cache_->stats().pinned_pages, 0);
}

TEST_F(SchedulerSessionTest, ACancelledRequestIsKeptAndAFailedOneNot) {
  Make(4);
  for (const bool fails : {false, true}) {
    ASSERT_TRUE(scheduler_->Add(Spec(1 + fails, "a"), 0).ok());
    Commit(Schedule());
    const Step step = Schedule();
    if (fails) {
      scheduler_->Abandon(step);
    } else {
      scheduler_->Cancel(1);
      Commit(step);
    }
    ASSERT_EQ(cache_->Pins().size(), 1u);
    EXPECT_EQ(cache_->Lookup(Spec(1, "").prompt).cached_pages, 0) << "they are pinned";
  }
}

TEST_F(SchedulerSessionTest, TakesNoMoreThanIsSetApart) {
  Make(2);
  Serve(Spec(1, "a"));
  Serve(Spec(2, "b"));
  ASSERT_EQ(cache_->Pins().size(), 1u);
  EXPECT_EQ(cache_->Pins()[0].session, "a");
  Make(0);
  const Status refused = scheduler_->Add(Spec(1, "a"), 0);
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.message(), testing::HasSubstr("--session-cache"));
}

}  // namespace
}  // namespace quire
