#include "kv_cache/kv_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

Tokens Range(int32_t first, int32_t count) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

void ExpectSound(const KvCache& cache) {
  const Status status = cache.CheckInvariants();
  EXPECT_TRUE(status.ok()) << status.message();
}

void ExpectPages(const KvCache& cache, int32_t free, int32_t cached, int32_t owned) {
  const KvCacheStats stats = cache.stats();
  EXPECT_EQ(stats.free_pages, free);
  EXPECT_EQ(stats.cached_pages, cached);
  EXPECT_EQ(stats.owned_pages, owned);
  ExpectSound(cache);
}

// Starts, computes and publishes a sequence of `tokens`.
KvSequenceId Compute(KvCache& cache, const Tokens& tokens) {
  const KvCache::Started started = cache.StartSequence(tokens);
  EXPECT_TRUE(cache.Extend(started.id, static_cast<int32_t>(tokens.size()) - started.matched));
  cache.Publish(started.id, tokens);
  return started.id;
}

TEST(KvCache, RefusesBadOptions) {
  EXPECT_EQ((KvCacheOptions{.page_size = 3, .num_pages = 4}.Validate().code()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ((KvCacheOptions{.page_size = 4, .num_pages = 0}.Validate().code()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ((KvCacheOptions{.num_pages = 2, .max_pinned_pages = 2}.Validate().code()),
            StatusCode::kInvalidArgument);
}

TEST(KvCache, APublishedPrefixIsSharedAndTheRestIsNot) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  const KvSequenceId first = Compute(cache, Range(0, 10));
  const KvCache::Started second = cache.StartSequence(Range(0, 12));
  EXPECT_EQ(second.matched, 8);
  EXPECT_EQ(cache.Table(second.id).pages()[1], cache.Table(first).pages()[1]);
  ASSERT_TRUE(cache.Extend(second.id, 4));
  EXPECT_NE(cache.Table(second.id).pages()[2], cache.Table(first).pages()[2]);
  ExpectPages(cache, 4, 0, 4);
}

TEST(KvCache, AMatchLeavesATokenToCompute) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  cache.Release(Compute(cache, Range(0, 8)));
  EXPECT_EQ(cache.Lookup(Range(0, 8)).tokens, 4);
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 8);
  EXPECT_EQ(cache.StartSequence(Range(0, 8)).matched, 4);
}

TEST(KvCache, NothingIsMatchedBeforeItIsPublished) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvCache::Started writer = cache.StartSequence(Range(0, 6));
  ASSERT_TRUE(cache.Extend(writer.id, 6));
  EXPECT_EQ(cache.Lookup(Range(0, 6)).tokens, 0);
  cache.Publish(writer.id, Range(0, 3));
  EXPECT_EQ(cache.Lookup(Range(0, 6)).tokens, 2);
}

TEST(KvCache, ReleaseKeepsPublishedPagesAndFreesTheRest) {
  KvCache cache({.page_size = 4, .num_pages = 8});
  cache.Release(Compute(cache, Range(0, 10)));
  ExpectPages(cache, 6, 2, 0);
}

TEST(KvCache, TheTableIsRemappedBeforeADuplicateGoes) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvCache::Started a = cache.StartSequence(Range(0, 5));
  const KvCache::Started b = cache.StartSequence(Range(0, 5));
  ASSERT_TRUE(cache.Extend(a.id, 5));
  ASSERT_TRUE(cache.Extend(b.id, 5));
  cache.Publish(a.id, Range(0, 5));
  const Tokens pages_of_b = cache.Table(b.id).pages();
  cache.Publish(b.id, Range(0, 5));
  EXPECT_EQ(cache.Table(b.id).pages()[0], cache.Table(a.id).pages()[0]);
  EXPECT_EQ(cache.Table(b.id).pages()[1], cache.Table(a.id).pages()[1]);
  EXPECT_EQ(cache.Table(b.id).pages()[2], pages_of_b[2]);
  EXPECT_EQ(cache.stats().deduplicated_pages, 2);
  ExpectPages(cache, 4, 0, 4);
  // A third sequence may take the duplicates; b does not point at them.
  const KvCache::Started c = cache.StartSequence(Range(50, 4));
  ASSERT_TRUE(cache.Extend(c.id, 4));
  ExpectSound(cache);
}

TEST(KvCache, EvictsOnlyAsManyPagesAsItNeeds) {
  KvCache cache({.page_size = 2, .num_pages = 6});
  cache.Release(Compute(cache, Range(0, 8)));
  const KvCache::Started other = cache.StartSequence(Range(100, 6));
  ASSERT_TRUE(cache.Extend(other.id, 6));
  EXPECT_EQ(cache.stats().evicted_pages, 1);
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 6);
  ExpectPages(cache, 0, 3, 3);
}

TEST(KvCache, AFailedExtendChangesNothing) {
  KvCache cache({.page_size = 2, .num_pages = 4});
  cache.Release(Compute(cache, Range(0, 4)));
  const KvCache::Started a = cache.StartSequence(Range(100, 20));
  EXPECT_FALSE(cache.Extend(a.id, 9));
  ExpectPages(cache, 2, 2, 0);
  EXPECT_EQ(cache.RoomFor(a.id, 100), 8);
  EXPECT_TRUE(cache.Extend(a.id, 8));
  ExpectPages(cache, 0, 0, 4);
}

TEST(KvCache, MatchedPagesAreNotEvictedForTheirOwnSequence) {
  KvCache cache({.page_size = 2, .num_pages = 4});
  cache.Release(Compute(cache, Range(0, 8)));
  EXPECT_EQ(cache.Lookup(Range(0, 7)).cached_pages, 3);
  const KvCache::Started a = cache.StartSequence(Range(0, 7));
  EXPECT_EQ(a.matched, 6);
  EXPECT_EQ(cache.RoomFor(a.id, 100), 2);
  EXPECT_TRUE(cache.Extend(a.id, 1));
  ExpectPages(cache, 0, 0, 4);
}

TEST(KvCache, TruncateGivesUnpublishedPagesBack) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvCache::Started a = cache.StartSequence(Range(0, 9));
  ASSERT_TRUE(cache.Extend(a.id, 9));
  cache.Publish(a.id, Range(0, 4));
  cache.Truncate(a.id, 5);
  ExpectPages(cache, 5, 0, 3);
  cache.Truncate(a.id, 4);
  ExpectPages(cache, 6, 0, 2);
}

TEST(KvCache, WithoutPrefixCachingEverythingIsFreedAtTheEnd) {
  KvCache cache({.page_size = 2, .num_pages = 8, .prefix_caching = false});
  const KvSequenceId a = Compute(cache, Range(0, 9));
  EXPECT_EQ(cache.Lookup(Range(0, 9)).tokens, 0);
  cache.Release(a);
  ExpectPages(cache, 8, 0, 0);
}

TEST(KvCache, CountsQueriesAndHits) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  cache.Release(Compute(cache, Range(0, 5)));
  cache.Release(Compute(cache, Range(0, 7)));
  EXPECT_EQ(cache.stats().queried_tokens, 12);
  EXPECT_EQ(cache.stats().hit_tokens, 4);
}

// After `call`, which no correct caller makes: it is in health(), the pages are as before.
template <typename Call>
void ExpectContained(KvCache& cache, Call call) {
  const KvCacheStats before = cache.stats();
  call();
  EXPECT_EQ(cache.health().code(), StatusCode::kInternal);
  EXPECT_EQ(cache.stats().violations, before.violations + 1);
  ExpectPages(cache, before.free_pages, before.cached_pages, before.owned_pages);
}

TEST(KvCache, AReleasedSequenceIsUsedInVain) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 5));
  const KvSequenceId b = Compute(cache, Range(10, 5));
  cache.Release(a);
  EXPECT_TRUE(cache.health().ok());
  ExpectContained(cache, [&] { cache.Release(a); });
  ExpectContained(cache, [&] { EXPECT_FALSE(cache.Extend(a, 1)); });
  ExpectContained(cache, [&] { EXPECT_EQ(cache.RoomFor(a, 1), 0); });
  ExpectContained(cache, [&] { cache.Publish(a, Range(0, 5)); });
  ExpectContained(cache, [&] { cache.Truncate(a, 0); });
  ExpectContained(cache, [&] { EXPECT_EQ(cache.Table(a).length(), 0); });
  EXPECT_EQ(cache.Table(b).length(), 5);
  EXPECT_NE(cache.health().message().find("released"), std::string::npos);
}

TEST(KvCache, LengthsThatCannotBeAreRefused) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 5));
  ExpectContained(cache, [&] { EXPECT_FALSE(cache.Extend(a, -1)); });
  ExpectContained(cache, [&] { cache.Publish(a, Range(0, 6)); });
  ExpectContained(cache, [&] { cache.Publish(a, Range(0, 3)); });
  ExpectContained(cache, [&] { cache.Truncate(a, 6); });
  ExpectContained(cache, [&] { cache.Truncate(a, -1); });
  EXPECT_EQ(cache.Table(a).length(), 5);
}

TEST(KvCache, ResetStartsOver) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvSequenceId a = Compute(cache, Range(0, 5));
  cache.Release(a);
  cache.Release(a);
  Compute(cache, Range(0, 7));
  cache.Reset();
  EXPECT_TRUE(cache.health().ok());
  EXPECT_EQ(cache.num_sequences(), 0);
  EXPECT_EQ(cache.Lookup(Range(0, 7)).tokens, 0);
  ExpectPages(cache, 8, 0, 0);
  cache.Release(a);  // an id from before is not that of another sequence
  EXPECT_FALSE(cache.health().ok());
}

TEST(KvCache, TenantsShareNothing) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  const KvCache::Started mine = cache.StartSequence(Range(0, 5), {.cache_salt = 1});
  ASSERT_TRUE(cache.Extend(mine.id, 5));
  cache.Publish(mine.id, Range(0, 5));
  EXPECT_EQ(cache.Lookup(Range(0, 5)).tokens, 0);
  EXPECT_EQ(cache.Lookup(Range(0, 5), 2).tokens, 0);
  EXPECT_EQ(cache.Lookup(Range(0, 5), 1).tokens, 4);
  const KvCache::Started other = cache.StartSequence(Range(0, 5), {.cache_salt = 2});
  EXPECT_EQ(other.matched, 0);
  ASSERT_TRUE(cache.Extend(other.id, 5));
  cache.Publish(other.id, Range(0, 5));
  EXPECT_EQ(cache.stats().deduplicated_pages, 0);
  EXPECT_EQ(cache.StartSequence(Range(0, 5), {.cache_salt = 1}).matched, 4);
  ExpectPages(cache, 2, 0, 6);
}

TEST(KvCache, PrioritiesHoldUntilTheyExpire) {
  for (const int64_t now : {10, 15}) {
    KvCache cache({.page_size = 2, .num_pages = 4, .eviction = EvictionKind::kPriority});
    cache.AdvanceTo(5);
    for (const int32_t first : {0, 100}) {
      const KvCache::Started a =
          cache.StartSequence(Range(first, 4), {.priority = first == 0 ? 3 : 0, .ttl = 10});
      ASSERT_TRUE(cache.Extend(a.id, 4));
      cache.Publish(a.id, Range(first, 4));
      cache.Release(a.id);
    }
    cache.AdvanceTo(now);
    const KvCache::Started b = cache.StartSequence(Range(200, 4));
    ASSERT_TRUE(cache.Extend(b.id, 4));
    EXPECT_EQ(cache.Lookup(Range(0, 5)).tokens, now < 15 ? 4 : 0);
    EXPECT_EQ(cache.Lookup(Range(100, 5)).tokens, now < 15 ? 0 : 4);
    ExpectSound(cache);
  }
}

TEST(KvCache, AnEmptySequenceMatchesNothing) {
  KvCache cache({.page_size = 2, .num_pages = 8});
  EXPECT_EQ(cache.Lookup({}).tokens, 0);
  EXPECT_EQ(cache.StartSequence({}).matched, 0);
  EXPECT_TRUE(cache.health().ok());
}

}  // namespace
}  // namespace quire
