// What the cache does with tiers: a tier that stores one number a page.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

#include "kv_cache/kv_cache.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

Tokens Range(int32_t first, int32_t count) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class Numbers final : public PageStore {
 public:
  Numbers(std::vector<int>& pages, int32_t slots) : pages_(pages), slots_(slots) {}
  int32_t num_slots() const override { return static_cast<int32_t>(slots_.size()); }
  Status Put(int32_t page, int32_t slot) override {
    slots_[slot] = pages_[page];
    return OkStatus();
  }
  Status Get(int32_t slot, int32_t page) override {
    pages_[page] = slots_[slot];
    return slots_[slot] == 99 ? CorruptData("nonsense") : OkStatus();
  }

 private:
  std::vector<int>& pages_;
  std::vector<int> slots_;
};

class KvTiersTest : public testing::Test {
 protected:
  KvTiersTest() : memory_(8) {
    std::vector<std::unique_ptr<PageTier>> tiers;
    tiers.push_back(std::make_unique<PageTier>("test", std::make_unique<Numbers>(memory_, 16)));
    cache_ =
        std::make_unique<KvCache>(KvCacheOptions{.page_size = 2, .num_pages = 8}, std::move(tiers));
  }

  void ComputeAndStore(const Tokens& tokens, int number, uint64_t salt = 0) {
    Compute(tokens, number, salt);
    EXPECT_TRUE(cache_->PollTiers().ok());
    EXPECT_TRUE(cache_->WaitForTiers().ok());
  }

  // Computes `tokens` with a number for each page, counting from `number`.
  void Compute(const Tokens& tokens, int number, uint64_t salt = 0) {
    const KvCache::Started started = cache_->StartSequence(tokens, {.cache_salt = salt});
    EXPECT_TRUE(cache_->Extend(started.id, static_cast<int32_t>(tokens.size()) - started.matched));
    for (const int32_t page : cache_->Table(started.id).pages()) {
      memory_[page] = number++;
    }
    cache_->Publish(started.id, tokens);
    cache_->Release(started.id);
  }

  void EvictAll() {
    const KvSequenceId id = cache_->StartSequence({}).id;
    EXPECT_TRUE(cache_->Extend(id, cache_->RoomFor(id, 1000)));
    for (const int32_t page : cache_->Table(id).pages()) {
      memory_[page] = 0;
    }
    cache_->Release(id);
  }

  void ExpectSound() {
    EXPECT_TRUE(cache_->CheckInvariants().ok()) << cache_->CheckInvariants().message();
    EXPECT_TRUE(cache_->health().ok()) << cache_->health().message();
  }

  std::vector<int> memory_;  // a number for each page
  std::unique_ptr<KvCache> cache_;
};

TEST_F(KvTiersTest, EvictedPagesComeBack) {
  ComputeAndStore(Range(0, 9), 10);
  EXPECT_EQ(cache_->stats().stored_pages, 4);
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 0);  // nothing is missing
  EvictAll();
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 0);
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 8);
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 8);  // the same ones
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 0);
  EXPECT_EQ(cache_->num_sequences(), 0);
  EXPECT_EQ(cache_->available_pages(), 4);
  ExpectSound();
  EXPECT_TRUE(cache_->WaitForTiers().ok());
  EXPECT_EQ(cache_->stats().loaded_pages, 4);
  EXPECT_EQ(cache_->available_pages(), 8);
  const KvCache::Started started = cache_->StartSequence(Range(0, 9));
  ASSERT_EQ(started.matched, 8);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(memory_[cache_->Table(started.id).pages()[i]], 10 + i);
  }
  ExpectSound();
}

TEST_F(KvTiersTest, APageEvictedBeforeItsTurnIsLostAndNotTakenForAnother) {
  Compute(Range(0, 9), 10);
  EvictAll();
  ComputeAndStore(Range(50, 9), 20);  // in the same pages
  EvictAll();
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 0);
  EXPECT_EQ(cache_->Prefetch(Range(50, 9)), 8);
}

TEST_F(KvTiersTest, ComesBackBehindWhatIsStillThere) {
  ComputeAndStore(Range(0, 9), 10);
  const KvSequenceId a = cache_->StartSequence(Range(0, 5)).id;  // keeps two pages
  EvictAll();
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 4);
  EXPECT_EQ(cache_->Prefetch(Range(0, 8)), 2);  // a token is left to compute
  EXPECT_TRUE(cache_->WaitForTiers().ok());
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 6);
  cache_->Release(a);
  ExpectSound();
}

TEST_F(KvTiersTest, ACorruptPageIsSaidAndComputedAgain) {
  ComputeAndStore(Range(0, 9), 97);  // the third page is 99
  EvictAll();
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 8);
  const Status status = cache_->WaitForTiers();
  EXPECT_EQ(status.code(), StatusCode::kCorruptData);
  EXPECT_EQ(cache_->stats().failed_copies, 1);
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 4);
  EXPECT_EQ(cache_->stats().in_transfer_pages, 0);
  EXPECT_EQ(cache_->available_pages(), 8);
  ExpectSound();
  ComputeAndStore(Range(0, 9), 20);
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 8);
  EXPECT_TRUE(cache_->PollTiers().ok());
}

TEST_F(KvTiersTest, TenantsShareNothingThere) {
  ComputeAndStore(Range(0, 9), 10, 1);
  EvictAll();
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 0);
  EXPECT_EQ(cache_->Prefetch(Range(0, 9), 2), 0);
  EXPECT_EQ(cache_->Prefetch(Range(0, 9), 1), 8);
}

TEST_F(KvTiersTest, BringsBackNoMoreThanFits) {
  ComputeAndStore(Range(0, 9), 10);
  EvictAll();
  const KvSequenceId id = cache_->StartSequence({}).id;
  ASSERT_TRUE(cache_->Extend(id, 12));
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 4);
  EXPECT_EQ(cache_->available_pages(), 0);
  EXPECT_TRUE(cache_->WaitForTiers().ok());
  EXPECT_EQ(cache_->Lookup(Range(0, 9)).tokens, 4);
  EXPECT_EQ(cache_->RoomFor(id, 100), 4);
  ExpectSound();
}

TEST_F(KvTiersTest, WhatWasComputedMeanwhileIsKept) {
  ComputeAndStore(Range(0, 5), 10);
  EvictAll();
  EXPECT_EQ(cache_->Prefetch(Range(0, 5)), 4);
  const KvCache::Started started = cache_->StartSequence(Range(0, 5));
  ASSERT_TRUE(cache_->Extend(started.id, 5));
  cache_->Publish(started.id, Range(0, 5));
  EXPECT_TRUE(cache_->WaitForTiers().ok());
  EXPECT_EQ(cache_->stats().deduplicated_pages, 2);
  ExpectSound();
}

TEST_F(KvTiersTest, ResetForgetsTheTierToo) {
  ComputeAndStore(Range(0, 9), 10);
  EvictAll();
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 8);
  cache_->Reset();
  EXPECT_EQ(cache_->stats().free_pages, 8);
  EXPECT_TRUE(cache_->WaitForTiers().ok());
  EXPECT_EQ(cache_->Prefetch(Range(0, 9)), 0);
  ExpectSound();
}

}  // namespace
}  // namespace quire
