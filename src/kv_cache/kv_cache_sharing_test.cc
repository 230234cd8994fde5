// Forks, truncation into shared pages and partial matches: who copies which page, and when.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kv_cache/kv_cache.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tokens = std::vector<int32_t>;

Tokens Range(int32_t first, int32_t count) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

void ExpectSound(const KvCache& cache) {
  EXPECT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants().message();
  EXPECT_TRUE(cache.health().ok()) << cache.health().message();
}

KvSequenceId Compute(KvCache& cache, const Tokens& tokens) {
  const KvCache::Started started = cache.StartSequence(tokens);
  EXPECT_TRUE(cache.Extend(started.id, static_cast<int32_t>(tokens.size()) - started.matched));
  cache.Publish(started.id, tokens);
  return started.id;
}

int32_t LastPage(const KvCache& cache, KvSequenceId id) {
  return cache.Table(id).pages().back();
}

TEST(KvFork, SharesEveryPageUntilOneWrites) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 10));
  const KvSequenceId b = cache.Fork(a);
  EXPECT_EQ(cache.stats().owned_pages, 3);
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  const int32_t shared = LastPage(cache, a);
  EXPECT_EQ(LastPage(cache, b), shared);
  ASSERT_TRUE(cache.Extend(b, 1));
  EXPECT_NE(LastPage(cache, b), shared);
  EXPECT_EQ(LastPage(cache, a), shared);
  ASSERT_TRUE(cache.Extend(a, 1));  // alone by now
  EXPECT_EQ(LastPage(cache, a), shared);
  EXPECT_THAT(cache.TakeCopies(), ElementsAre(PageCopy{shared, LastPage(cache, b)}));
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  EXPECT_EQ(cache.stats().owned_pages, 4);
  ExpectSound(cache);
}

TEST(KvFork, FullPagesNeedNoCopy) {
  KvCache cache({.page_size = 4, .num_pages = 8, .prefix_caching = false});
  const KvSequenceId a = Compute(cache, Range(0, 8));
  const KvSequenceId b = cache.Fork(a);
  ASSERT_TRUE(cache.Extend(a, 1));
  ASSERT_TRUE(cache.Extend(b, 1));
  EXPECT_NE(LastPage(cache, a), LastPage(cache, b));
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  cache.Release(a);
  EXPECT_EQ(cache.stats().owned_pages, 3);
  cache.Release(b);
  EXPECT_EQ(cache.stats().free_pages, 8);
  ExpectSound(cache);
}

TEST(KvFork, AForkThatIsGoneCostsNoCopy) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 6));
  cache.Release(cache.Fork(a));
  ASSERT_TRUE(cache.Extend(a, 1));
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  EXPECT_EQ(cache.stats().owned_pages, 2);
}

TEST(KvFork, OfNothingIsNothing) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  EXPECT_EQ(cache.Fork(7), 0);
  EXPECT_EQ(cache.health().code(), StatusCode::kInternal);
}

TEST(KvFork, BothPublishTheSamePages) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvCache::Started a = cache.StartSequence(Range(0, 7));
  ASSERT_TRUE(cache.Extend(a.id, 6));
  const KvSequenceId b = cache.Fork(a.id);
  cache.Publish(a.id, Range(0, 6));
  cache.Release(a.id);
  EXPECT_EQ(cache.stats().owned_pages, 3);
  cache.Publish(b, Range(0, 6));
  EXPECT_EQ(cache.stats().deduplicated_pages, 0);
  ExpectSound(cache);
  cache.Release(b);
  EXPECT_EQ(cache.stats().cached_pages, 3);
}

TEST(KvFork, ForksThatPublishDifferentTokensAreContained) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvCache::Started a = cache.StartSequence(Range(0, 7));
  ASSERT_TRUE(cache.Extend(a.id, 4));
  const KvSequenceId b = cache.Fork(a.id);
  cache.Publish(a.id, Range(0, 4));
  cache.Publish(b, Range(100, 4));  // but the keys are those of the other tokens
  EXPECT_EQ(cache.health().code(), StatusCode::kInternal);
  EXPECT_EQ(cache.stats().quarantined_pages, 1);
  EXPECT_EQ(cache.Lookup(Range(100, 5)).tokens, 0);
  EXPECT_EQ(cache.Lookup(Range(0, 5)).tokens, 0);  // nothing in quarantine is matched
  EXPECT_EQ(cache.StartSequence(Range(0, 5)).matched, 0);
  EXPECT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants().message();
  cache.Release(a.id);
  cache.Release(b);
  const KvCache::Started c = cache.StartSequence(Range(50, 20));
  EXPECT_FALSE(cache.Extend(c.id, 15));
  EXPECT_TRUE(cache.Extend(c.id, 14));  // all but the one page
  cache.Reset();
  EXPECT_EQ(cache.stats().free_pages, 8);
}

TEST(KvCopy, ItsPagesWaitUntilItIsTaken) {
  KvCache cache({.page_size = 4, .num_pages = 3, .prefix_caching = false});
  const KvSequenceId a = Compute(cache, Range(0, 2));
  const KvSequenceId b = cache.Fork(a);
  ASSERT_TRUE(cache.Extend(b, 1));
  cache.Release(a);
  cache.Release(b);
  EXPECT_EQ(cache.stats().in_transfer_pages, 2);
  EXPECT_EQ(cache.available_pages(), 1);
  ExpectSound(cache);
  EXPECT_EQ(cache.TakeCopies().size(), 1);
  EXPECT_EQ(cache.available_pages(), 3);
  ExpectSound(cache);
}

TEST(KvCopy, OfACopyToComeIsFromItsSource) {
  KvCache cache({.page_size = 4, .num_pages = 8, .prefix_caching = false});
  const KvSequenceId a = Compute(cache, Range(0, 2));
  const int32_t source = LastPage(cache, a);
  const KvSequenceId b = cache.Fork(a);
  ASSERT_TRUE(cache.Extend(b, 1));
  cache.Truncate(b, 2);
  const int32_t copy = LastPage(cache, b);
  const KvSequenceId c = cache.Fork(b);
  ASSERT_TRUE(cache.Extend(c, 1));
  ExpectSound(cache);
  const int32_t second = LastPage(cache, c);
  EXPECT_THAT(cache.TakeCopies(),
              testing::UnorderedElementsAre(PageCopy{source, copy}, PageCopy{source, second}));
}

TEST(KvCopy, ResetForgetsIt) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 2));
  ASSERT_TRUE(cache.Extend(cache.Fork(a), 1));
  cache.Reset();
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  EXPECT_EQ(cache.stats().free_pages, 8);
  ExpectSound(cache);
}

TEST(KvTruncate, PublishedPagesStayCached) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 9));
  cache.Truncate(a, 4);
  EXPECT_EQ(cache.stats().owned_pages, 2);
  EXPECT_EQ(cache.stats().cached_pages, 2);
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 8);
  ExpectSound(cache);
  ASSERT_TRUE(cache.Extend(a, 2));
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  cache.Publish(a, Range(0, 4) + Range(50, 2));
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 8);
  EXPECT_EQ(cache.Lookup(Range(0, 4) + Range(50, 3)).tokens, 6);
  ExpectSound(cache);
}

TEST(KvTruncate, APublishedPageIsNotWrittenAgain) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 8));
  const int32_t published = LastPage(cache, a);
  cache.Truncate(a, 6);
  EXPECT_EQ(LastPage(cache, a), published);
  ASSERT_TRUE(cache.Extend(a, 1));
  EXPECT_THAT(cache.TakeCopies(), ElementsAre(PageCopy{published, LastPage(cache, a)}));
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 8);
  EXPECT_EQ(cache.stats().cached_pages, 1);
  ExpectSound(cache);
}

TEST(KvTruncate, WithoutAPageForTheCopyTheTreeGivesItsOwn) {
  KvCache cache({.page_size = 4, .num_pages = 2});
  const KvSequenceId a = Compute(cache, Range(0, 8));
  const int32_t published = LastPage(cache, a);
  cache.Truncate(a, 6);
  EXPECT_EQ(cache.RoomFor(a, 100), 2);
  EXPECT_FALSE(cache.Extend(a, 3));
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 8);
  ASSERT_TRUE(cache.Extend(a, 2));
  EXPECT_EQ(LastPage(cache, a), published);
  EXPECT_THAT(cache.TakeCopies(), IsEmpty());
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 4);
  ExpectSound(cache);
}

TEST(KvTruncate, ASharedPageCountsInTheRoom) {
  KvCache cache({.page_size = 4, .num_pages = 2, .prefix_caching = false});
  const KvSequenceId a = Compute(cache, Range(0, 2));
  EXPECT_EQ(cache.RoomFor(a, 100), 6);
  const KvSequenceId b = cache.Fork(a);
  EXPECT_EQ(cache.RoomFor(a, 100), 2);
  EXPECT_FALSE(cache.Extend(a, 3));
  ASSERT_TRUE(cache.Extend(a, 2));
  EXPECT_EQ(cache.RoomFor(b, 100), 2);
  const KvSequenceId c = cache.Fork(b);
  EXPECT_EQ(cache.RoomFor(c, 100), 0);
  EXPECT_FALSE(cache.Extend(c, 1));
  EXPECT_TRUE(cache.Extend(c, 0));
  ExpectSound(cache);
}

constexpr KvCacheOptions kPins = {.page_size = 2, .num_pages = 6, .max_pinned_pages = 2};

// Asks for all pages that can be had and gives them back.
void EvictAll(KvCache& cache) {
  const KvSequenceId id = cache.StartSequence({}).id;
  EXPECT_TRUE(cache.Extend(id, cache.RoomFor(id, 1000)));
  cache.Release(id);
}

TEST(KvPin, KeepsPagesUntilItIsTakenBack) {
  KvCache cache(kPins);
  EXPECT_EQ(cache.capacity_tokens(), 8);
  cache.Release(Compute(cache, Range(0, 4)));
  EXPECT_EQ(*cache.Pin("a", Range(0, 4)), 4);
  EXPECT_EQ(cache.stats().pinned_pages, 2);
  EvictAll(cache);
  EXPECT_EQ(cache.Lookup(Range(0, 5)).tokens, 4);
  ExpectSound(cache);
  EXPECT_TRUE(cache.Unpin("a"));
  EXPECT_FALSE(cache.Unpin("a"));
  EXPECT_EQ(cache.stats().cached_pages, 2);
  EvictAll(cache);
  EXPECT_EQ(cache.Lookup(Range(0, 5)).tokens, 0);
  ExpectSound(cache);
}

TEST(KvPin, Expires) {
  KvCache cache(kPins);
  cache.AdvanceTo(100);
  cache.Release(Compute(cache, Range(0, 4)));
  ASSERT_TRUE(cache.Pin("a", Range(0, 4), 0, 10).ok());
  cache.AdvanceTo(109);
  EXPECT_EQ(cache.stats().pinned_pages, 2);
  cache.AdvanceTo(110);
  EXPECT_EQ(cache.stats().pinned_pages, 0);
  ExpectSound(cache);
}

TEST(KvPin, TakesNoMoreThanItsShare) {
  KvCache cache(kPins);
  cache.Release(Compute(cache, Range(0, 4)));
  cache.Release(Compute(cache, Range(0, 2) + Range(50, 2)));
  ASSERT_TRUE(cache.Pin("a", Range(0, 2)).ok());
  ASSERT_TRUE(cache.Pin("b", Range(0, 2)).ok());
  const Result<int32_t> refused = cache.Pin("a", Range(0, 4));
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(cache.stats().pinned_pages, 2);
  EXPECT_TRUE(cache.Unpin("b"));
  EXPECT_EQ(*cache.Pin("a", Range(0, 4)), 4);  // its own pages count no more
  EXPECT_EQ(*cache.Pin("a", Range(0, 2) + Range(50, 9)), 4);
  ExpectSound(cache);
  cache.Reset();
  EXPECT_EQ(cache.stats().pinned_pages, 0);
}

constexpr KvCacheOptions kPartial = {.page_size = 64, .num_pages = 8, .partial_matches = true};

TEST(KvPartialMatch, TakesTheFirstTokensOfAPage) {
  KvCache cache(kPartial);
  cache.Release(Compute(cache, Range(0, 192)));
  // In the middle of a node, and then where it was split.
  for (const int32_t common : {64 + 20, 64 + 63, 64 + 16, 20}) {
    const Tokens tokens = Range(0, common) + Range(1000, 70);
    EXPECT_EQ(cache.Lookup(tokens).tokens, common);
    EXPECT_EQ(cache.Lookup(tokens).cached_pages, common / 64 + 1);
    const KvCache::Started started = cache.StartSequence(tokens);
    EXPECT_EQ(started.matched, common);
    const int32_t shared = LastPage(cache, started.id);
    ASSERT_TRUE(cache.Extend(started.id, 1));
    EXPECT_THAT(cache.TakeCopies(), ElementsAre(PageCopy{shared, LastPage(cache, started.id)}));
    ExpectSound(cache);
    cache.Release(started.id);
    EXPECT_EQ(cache.stats().cached_pages, 3);
  }
}

TEST(KvPartialMatch, IsNotWorthLessThanAQuarterOfAPage) {
  KvCache cache(kPartial);
  cache.Release(Compute(cache, Range(0, 128)));
  EXPECT_EQ(cache.Lookup(Range(0, 79) + Range(1000, 70)).tokens, 64);
  EXPECT_EQ(cache.Lookup(Range(0, 80) + Range(1000, 70)).tokens, 80);
  KvCache small({.page_size = 16, .num_pages = 8, .partial_matches = true});
  small.Release(Compute(small, Range(0, 32)));
  EXPECT_EQ(small.Lookup(Range(0, 31) + Range(1000, 9)).tokens, 16);
}

TEST(KvPartialMatch, LeavesATokenToCompute) {
  KvCache cache(kPartial);
  cache.Release(Compute(cache, Range(0, 128)));
  EXPECT_EQ(cache.StartSequence(Range(0, 128)).matched, 127);
  EXPECT_EQ(cache.StartSequence(Range(0, 64)).matched, 63);
}

TEST(KvPartialMatch, SharesNothingAcrossSalts) {
  KvCache cache(kPartial);
  cache.Release(Compute(cache, Range(0, 128)));
  EXPECT_EQ(cache.Lookup(Range(0, 100), 1).tokens, 0);
}

TEST(KvPartialMatch, IsOffByDefault) {
  KvCache cache({.page_size = 64, .num_pages = 8});
  cache.Release(Compute(cache, Range(0, 128)));
  EXPECT_EQ(cache.Lookup(Range(0, 128)).tokens, 64);
}

}  // namespace
}  // namespace quire
