#include "kv_cache/page_tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace quire {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// Numbers instead of pages; copies wait while the gate is closed.
class Numbers final : public PageStore {
 public:
  Numbers(std::vector<int>& pages, int32_t slots, std::atomic<bool>& open)
      : pages_(pages), slots_(slots), open_(open) {}
  int32_t num_slots() const override { return static_cast<int32_t>(slots_.size()); }
  Status Put(int32_t page, int32_t slot) override {
    open_.wait(false);
    slots_[slot] = pages_[page];
    return pages_[page] < 0 ? ResourceExhausted("full") : OkStatus();
  }
  Status Get(int32_t slot, int32_t page) override {
    open_.wait(false);
    pages_[page] = slots_[slot];
    return slots_[slot] == 99 ? CorruptData("nonsense") : OkStatus();
  }

 private:
  std::vector<int>& pages_;
  std::vector<int> slots_;
  std::atomic<bool>& open_;
};

class PageTierTest : public testing::Test {
 protected:
  PageTier& Make(int32_t slots) {
    tier_ = std::make_unique<PageTier>("test", std::make_unique<Numbers>(pages_, slots, open_));
    return *tier_;
  }
  ~PageTierTest() override { SetOpen(true); }

  void SetOpen(bool open) {
    open_ = open;
    open_.notify_all();
  }
  std::vector<PageTier::Ended> WaitAndPoll() {
    tier_->Wait();
    return tier_->Poll();
  }
  static PageKey Key(uint64_t n) { return {n, n}; }

  std::vector<int> pages_ = {10, 11, 12, 13, 14, -1, 99, 0};
  std::atomic<bool> open_ = true;
  std::unique_ptr<PageTier> tier_;
};

TEST_F(PageTierTest, BringsBackWhatItStored) {
  PageTier& tier = Make(2);
  EXPECT_TRUE(tier.Store(Key(1), 0));
  EXPECT_FALSE(tier.Store(Key(1), 0));  // is about to have it
  const std::vector<PageTier::Ended> stored = WaitAndPoll();
  ASSERT_THAT(stored, SizeIs(1));
  EXPECT_FALSE(stored[0].load);
  EXPECT_EQ(stored[0].page, 0);
  EXPECT_TRUE(tier.Has(Key(1)));
  pages_[0] = 0;
  EXPECT_FALSE(tier.Load(Key(2), 0));
  EXPECT_TRUE(tier.Load(Key(1), 0));
  ASSERT_THAT(WaitAndPoll(), SizeIs(1));
  EXPECT_EQ(pages_[0], 10);
}

TEST_F(PageTierTest, NeverWaits) {
  PageTier& tier = Make(2);
  SetOpen(false);
  EXPECT_TRUE(tier.Store(Key(1), 0));
  EXPECT_THAT(tier.Poll(), SizeIs(0));
  EXPECT_FALSE(tier.Has(Key(1)));
  EXPECT_EQ(tier.stores_under_way(), 1);
  SetOpen(true);
  EXPECT_THAT(WaitAndPoll(), SizeIs(1));
  EXPECT_EQ(tier.stores_under_way(), 0);
}

TEST_F(PageTierTest, MakesRoomForWhatWasUsedLeast) {
  PageTier& tier = Make(2);
  for (const int32_t page : {0, 1}) {
    tier.Store(Key(page), page);
    WaitAndPoll();
  }
  EXPECT_FALSE(tier.Store(Key(0), 0));  // has it, and is used now
  EXPECT_TRUE(tier.Store(Key(2), 2));
  WaitAndPoll();
  EXPECT_TRUE(tier.Has(Key(0)));
  EXPECT_FALSE(tier.Has(Key(1)));
  EXPECT_TRUE(tier.Has(Key(2)));
  EXPECT_EQ(tier.stored_pages(), 2);
}

TEST_F(PageTierTest, ASlotThatIsLoadedStays) {
  PageTier& tier = Make(1);
  tier.Store(Key(0), 0);
  WaitAndPoll();
  SetOpen(false);
  EXPECT_TRUE(tier.Load(Key(0), 7));
  EXPECT_TRUE(tier.Load(Key(0), 6));
  EXPECT_FALSE(tier.Store(Key(1), 1));
  SetOpen(true);
  EXPECT_THAT(WaitAndPoll(), SizeIs(2));
  EXPECT_EQ(pages_[7], 10);
  EXPECT_TRUE(tier.Store(Key(1), 1));
}

TEST_F(PageTierTest, ABoundedNumberOfCopiesIsUnderWay) {
  PageTier& tier = Make(100);
  SetOpen(false);
  uint64_t begun = 0;
  while (tier.Store(Key(begun), 0)) {
    ++begun;
  }
  EXPECT_EQ(begun, PageTier::kMaxJobs);
  EXPECT_FALSE(tier.CanBegin());
  SetOpen(true);
  WaitAndPoll();
  EXPECT_TRUE(tier.CanBegin());
}

TEST_F(PageTierTest, ASlotThatTookNoPageIsNotUsedAgain) {
  PageTier& tier = Make(2);
  tier.Store(Key(1), 5);
  const std::vector<PageTier::Ended> failed = WaitAndPoll();
  EXPECT_EQ(failed[0].status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(failed[0].status.message(), HasSubstr("kv pages on test"));
  EXPECT_FALSE(tier.Has(Key(1)));
  for (const int32_t page : {0, 1}) {
    EXPECT_TRUE(tier.Store(Key(page), page));
    WaitAndPoll();
  }
  EXPECT_EQ(tier.stored_pages(), 1);  // in the other slot
  tier.Store(Key(2), 5);
  WaitAndPoll();
  EXPECT_FALSE(tier.CanBegin());  // no slot is left
  EXPECT_FALSE(tier.Store(Key(0), 0));
}

TEST_F(PageTierTest, WhatIsCorruptIsForgotten) {
  PageTier& tier = Make(1);
  tier.Store(Key(1), 6);
  WaitAndPoll();
  EXPECT_TRUE(tier.Load(Key(1), 0));
  EXPECT_EQ(WaitAndPoll()[0].status.code(), StatusCode::kCorruptData);
  EXPECT_FALSE(tier.Has(Key(1)));
  EXPECT_TRUE(tier.Store(Key(2), 1));  // in the same slot
  WaitAndPoll();
  EXPECT_TRUE(tier.Has(Key(2)));
  tier.Clear();
  EXPECT_FALSE(tier.Has(Key(2)));
  EXPECT_TRUE(tier.Store(Key(3), 1));
}

}  // namespace
}  // namespace quire
