// The scheduler and what the KV cache offers beside pages: salts, copies of parts of pages, a
// reset.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "scheduler/scheduler.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int32_t kPage = 32;

class SchedulerCacheTest : public testing::Test {
 protected:
  // A request whose first `shared` tokens are those of all others.
  void Add(uint64_t id, int32_t shared, uint64_t salt = 0) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt.assign(shared, 1);
    spec.prompt.resize(2 * kPage + 1, static_cast<int32_t>(id) + 100);
    spec.max_new_tokens = 2;
    spec.cache_salt = salt;
    const Status status = scheduler_.Add(std::move(spec), 0);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  Step Schedule() {
    std::optional<Step> step = scheduler_.Schedule(0);
    EXPECT_TRUE(step.has_value());
    return step.has_value() ? *std::move(step) : Step();
  }
  void Commit(const Step& step) {
    scheduler_.Commit(step, std::vector<SampledToken>(step.batch.logit_rows.size()));
    const Status status = scheduler_.CheckInvariants();
    EXPECT_TRUE(status.ok()) << status.message();
  }
  void RunAll() {
    while (!scheduler_.idle()) {
      Commit(Schedule());
    }
  }

  KvCache cache_{{.page_size = kPage, .num_pages = 16, .partial_matches = true}};
  Scheduler scheduler_{SchedulerConfig{}, cache_};
};

TEST_F(SchedulerCacheTest, ComputesOnlyWhatIsNotOfTheSameSalt) {
  Add(1, 2 * kPage, 5);
  RunAll();
  Add(2, 2 * kPage, 6);
  const Step other = Schedule();
  EXPECT_EQ(other.sequences[0].num_rows, 2 * kPage + 1);
  Commit(other);
  RunAll();
  Add(3, 2 * kPage, 5);
  EXPECT_EQ(Schedule().sequences[0].num_rows, 1);
}

TEST_F(SchedulerCacheTest, FollowsNobodyOfAnotherSalt) {
  Add(1, 2 * kPage, 5);
  Add(2, 2 * kPage, 6);
  Add(3, 2 * kPage, 5);
  EXPECT_THAT(Schedule().sequences, SizeIs(2));
}

TEST_F(SchedulerCacheTest, AStepNamesThePagesToCopyBeforeIt) {
  Add(1, 2 * kPage);
  const Step first = Schedule();
  EXPECT_THAT(first.copies, SizeIs(0));
  const int32_t second_page = first.batch.page_table[1];
  Commit(first);
  RunAll();
  Add(2, kPage + 20);
  const Step step = Schedule();
  EXPECT_EQ(step.sequences[0].num_rows, kPage + 1 - 20);
  EXPECT_THAT(step.copies,
              ElementsAre(PageCopy{.from = second_page, .to = step.batch.page_table[1]}));
}

TEST_F(SchedulerCacheTest, ResetEndsAllAndStartsAnew) {
  Add(1, kPage);
  Add(2, kPage, 7);
  Commit(Schedule());
  Add(3, 0);
  cache_.Release(12345);
  EXPECT_FALSE(cache_.health().ok());
  std::vector<uint64_t> ids;
  for (const TokenEvent& event : scheduler_.Reset()) {
    EXPECT_EQ(event.finish_reason, FinishReason::kError);
    ids.push_back(event.id);
  }
  EXPECT_THAT(ids, ElementsAre(1, 2, 3));
  EXPECT_TRUE(cache_.health().ok());
  EXPECT_TRUE(scheduler_.idle());
  EXPECT_EQ(cache_.stats().free_pages, 16);
  Add(1, kPage);
  EXPECT_EQ(Schedule().sequences[0].num_rows, 2 * kPage + 1);
}

}  // namespace
}  // namespace quire
