// Random calls on the cache, with a memory in which every slot says whose token it is: what a
// sequence reads must be its own history, whatever is shared, copied, cut, forked and evicted.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/strcat.h"
#include "base/test_seed.h"
#include "kv_cache/kv_cache.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

// What a slot holds: a hash of the salt and of all tokens up to its own.
uint64_t Extended(uint64_t history, int32_t token) {
  return (history ^ static_cast<uint64_t>(token + 1)) * 0x9E3779B97F4A7C15u + (history >> 31);
}

using Memory = std::vector<uint64_t>;

// Slots beside the memory. Some copies fail, and then leave nonsense behind.
class FakeStore final : public PageStore {
 public:
  FakeStore(uint64_t seed, Memory& memory, int32_t page_size, int32_t num_slots, double failures)
      : random_(seed),
        memory_(memory),
        page_size_(page_size),
        failures_(failures),
        slots_(static_cast<size_t>(num_slots) * page_size) {}

  int32_t num_slots() const override { return static_cast<int32_t>(slots_.size()) / page_size_; }
  Status Put(int32_t page, int32_t slot) override {
    return Copy(memory_, page, slots_, slot) ? OkStatus() : ResourceExhausted("full");
  }
  Status Get(int32_t slot, int32_t page) override {
    return Copy(slots_, slot, memory_, page) ? OkStatus() : CorruptData("nonsense");
  }

 private:
  bool Copy(const Memory& from, ptrdiff_t source, Memory& to, ptrdiff_t destination) {
    std::copy_n(from.begin() + source * page_size_, page_size_,
                to.begin() + destination * page_size_);
    const bool fails = std::uniform_real_distribution<>(0, 1)(random_) < failures_;
    to[static_cast<size_t>(destination) * page_size_] += fails ? 1 : 0;
    return !fails;
  }

  std::mt19937_64 random_;
  Memory& memory_;
  int32_t page_size_;
  double failures_;
  Memory slots_;
};

struct TierScenario {
  std::vector<int32_t> slots;  // of each tier
  double failures = 0;
  bool waits = true;  // so that a seed repeats exactly
};

class CacheModel {
 public:
  CacheModel(uint64_t seed, const KvCacheOptions& options, bool evicts, const TierScenario& tiers)
      : random_(seed),
        evicts_(evicts),
        waits_(tiers.waits),
        failing_(tiers.failures > 0),
        memory_(static_cast<size_t>(options.num_pages) * options.page_size),
        cache_(options, Tiers(seed, options.page_size, tiers)) {}

  void Run(int operations) {
    for (int i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      const uint64_t operation = Draw(10);
      SCOPED_TRACE(StrCat("operation ", i, " is ", operation));
      Apply(operation);
      Check();
    }
    RunStep();
    while (!sequences_.empty()) {
      Release();
    }
    for (const int session : {0, 1, 2}) {
      cache_.Unpin(StrCat("session ", session));
    }
    EXPECT_TRUE(cache_.WaitForTiers().ok() || failing_);
    EXPECT_TRUE(cache_.WaitForTiers().ok() || failing_);
    const KvCacheStats stats = cache_.stats();
    EXPECT_EQ(stats.free_pages + stats.cached_pages, cache_.options().num_pages);
    Check();
  }

  const KvCache& cache() const { return cache_; }
  int64_t copies() const { return copies_; }

 private:
  struct Sequence {
    KvSequenceId id = 0;
    uint64_t salt = 0;
    Tokens tokens;       // as long as its table
    size_t written = 0;  // tokens
  };

  uint64_t Draw(uint64_t bound) { return random_() % bound; }

  std::vector<std::unique_ptr<PageTier>> Tiers(uint64_t seed, int32_t page_size,
                                               const TierScenario& scenario) {
    std::vector<std::unique_ptr<PageTier>> tiers;
    for (const int32_t slots : scenario.slots) {
      auto store = std::make_unique<FakeStore>(seed, memory_, page_size, slots, scenario.failures);
      tiers.push_back(std::make_unique<PageTier>("fake", std::move(store)));
    }
    return tiers;
  }

  void Poll() {
    const Status status = waits_ ? cache_.WaitForTiers() : cache_.PollTiers();
    EXPECT_TRUE(status.ok() || failing_) << status.message();
  }

  void Apply(uint64_t operation) {
    if (Draw(2) == 0) {
      Poll();
    }
    if (operation <= 1) {
      return Start();
    }
    if (sequences_.empty()) {
      return;
    }
    Sequence& sequence = sequences_[Draw(sequences_.size())];
    switch (operation) {
      case 2:
      case 3:
      case 4: return Extend(sequence);
      case 5: return RunStep();
      case 6: return Publish(sequence);
      case 7: return Draw(2) == 0 ? Fork(sequence) : Truncate(sequence);
      case 8: return Draw(3) == 0 ? Pin(sequence) : Release();
      default: cache_.AdvanceTo(++now_);
    }
  }

  // Something like what was there before, or not.
  Tokens RandomTokens() {
    Tokens tokens;
    if (!seen_.empty() && Draw(4) > 0) {
      tokens = seen_[Draw(seen_.size())];
      tokens.resize(Draw(tokens.size() + 1));
    }
    const size_t more = Draw(3 * static_cast<uint64_t>(cache_.page_size()) + 3);
    for (size_t i = 0; i < more; ++i) {
      tokens.push_back(static_cast<int32_t>(Draw(3)));
    }
    return tokens;
  }

  int32_t LongestPublished(const Tokens& tokens, uint64_t salt) const {
    const size_t page_size = cache_.page_size();
    size_t length = 0;
    while (length + page_size < tokens.size() &&
           published_.contains(
               {salt, Tokens(tokens.begin(),
                             tokens.begin() + static_cast<ptrdiff_t>(length + page_size))})) {
      length += page_size;
    }
    return static_cast<int32_t>(length);
  }

  void Start() {
    if (sequences_.size() >= 6) {
      return;
    }
    const Tokens tokens = RandomTokens();
    const uint64_t salt = Draw(5) == 0 ? 1 : 0;
    if (Draw(2) == 0 && cache_.Prefetch(tokens, salt) > 0 && Draw(4) > 0) {
      const Status status = cache_.WaitForTiers();
      EXPECT_TRUE(status.ok() || failing_) << status.message();
    }
    const KvCache::Prefix prefix = cache_.Lookup(tokens, salt);
    const int32_t available = cache_.available_pages();
    const KvCache::Started started =
        cache_.StartSequence(tokens, {.cache_salt = salt,
                                      .priority = static_cast<int32_t>(Draw(3)),
                                      .ttl = static_cast<int64_t>(Draw(30))});
    EXPECT_EQ(started.matched, prefix.tokens);
    EXPECT_EQ(cache_.available_pages(), available - prefix.cached_pages);
    EXPECT_EQ(cache_.Table(started.id).length(), started.matched);
    EXPECT_LT(started.matched, std::max<int32_t>(1, static_cast<int32_t>(tokens.size())));
    if (!evicts_) {
      const int32_t page_size = cache_.page_size();
      EXPECT_EQ(started.matched / page_size * page_size, LongestPublished(tokens, salt));
    }
    const Tokens matched(tokens.begin(), tokens.begin() + started.matched);
    sequences_.push_back({started.id, salt, matched, matched.size()});
    seen_.push_back(tokens);
    published_pages_[started.id] = matched.size() / cache_.page_size();
    wanted_[started.id] = Tokens(tokens.begin() + started.matched, tokens.end());
  }

  void Extend(Sequence& sequence) {
    const auto count =
        static_cast<int32_t>(1 + Draw(2 * static_cast<uint64_t>(cache_.page_size()) + 1));
    const int32_t room = cache_.RoomFor(sequence.id, count);
    EXPECT_EQ(cache_.Extend(sequence.id, count), room == count);
    if (room < count) {
      return;
    }
    Tokens& wanted = wanted_[sequence.id];
    for (int32_t i = 0; i < count; ++i) {
      sequence.tokens.push_back(wanted.empty() ? static_cast<int32_t>(Draw(3)) : wanted.front());
      if (!wanted.empty()) {
        wanted.erase(wanted.begin());
      }
    }
    seen_.push_back(sequence.tokens);
  }

  // The copies, then all that was extended is written, then everybody reads everything.
  void RunStep() {
    std::set<int32_t> sources;
    std::set<int32_t> destinations;
    const std::vector<PageCopy> copies = cache_.TakeCopies();
    for (const auto& [from, to] : copies) {
      sources.insert(from);
      EXPECT_TRUE(destinations.insert(to).second) << "two copies go to page " << to;
      const auto page_size = static_cast<ptrdiff_t>(cache_.page_size());
      std::copy_n(memory_.begin() + from * page_size, page_size, memory_.begin() + to * page_size);
    }
    EXPECT_TRUE(std::ranges::none_of(sources, [&](int32_t s) { return destinations.contains(s); }));
    copies_ += static_cast<int64_t>(copies.size());
    for (const Sequence& sequence : sequences_) {
      ForEachSlot(sequence, [&](size_t position, int64_t slot, uint64_t content) {
        if (position >= sequence.written) {
          memory_[slot] = content;
        }
      });
    }
    for (Sequence& sequence : sequences_) {
      sequence.written = sequence.tokens.size();
      ForEachSlot(sequence, [&](size_t position, int64_t slot, uint64_t content) {
        EXPECT_EQ(memory_[slot], content)
            << "sequence " << sequence.id << " reads another's token at " << position;
      });
    }
  }

  template <typename Visit>
  void ForEachSlot(const Sequence& sequence, Visit visit) {
    const PageTable& table = cache_.Table(sequence.id);
    uint64_t history = sequence.salt;
    for (size_t i = 0; i < sequence.tokens.size(); ++i) {
      history = Extended(history, sequence.tokens[i]);
      visit(i, table.SlotOf(static_cast<int32_t>(i)), history);
    }
  }

  void Publish(Sequence& sequence) {
    RunStep();
    size_t length = sequence.tokens.size() - Draw(sequence.tokens.size() / 4 + 1);
    const size_t page_size = cache_.page_size();
    if (length / page_size < published_pages_[sequence.id]) {
      length = sequence.tokens.size();
    }
    published_pages_[sequence.id] = length / page_size;
    cache_.Publish(sequence.id, std::span(sequence.tokens).first(length));
    for (size_t end = page_size; end <= length && cache_.options().prefix_caching;
         end += page_size) {
      published_.insert(
          {sequence.salt,
           Tokens(sequence.tokens.begin(), sequence.tokens.begin() + static_cast<ptrdiff_t>(end))});
    }
  }

  void Fork(const Sequence& sequence) {
    if (sequence.written < sequence.tokens.size() || sequences_.size() >= 6) {
      return;
    }
    Sequence fork = sequence;
    fork.id = cache_.Fork(sequence.id);
    EXPECT_EQ(cache_.Table(fork.id).pages(), cache_.Table(sequence.id).pages());
    wanted_[fork.id] = {};
    published_pages_[fork.id] = published_pages_[sequence.id];
    sequences_.push_back(fork);
  }

  void Truncate(Sequence& sequence) {
    if (sequence.written < sequence.tokens.size()) {
      return;
    }
    sequence.tokens.resize(Draw(sequence.tokens.size() + 1));
    sequence.written = sequence.tokens.size();
    const size_t pages = sequence.tokens.size() / cache_.page_size();
    published_pages_[sequence.id] = std::min(published_pages_[sequence.id], pages);
    wanted_[sequence.id] = {};
    cache_.Truncate(sequence.id, static_cast<int32_t>(sequence.tokens.size()));
  }

  void Pin(const Sequence& sequence) {
    const std::string session = StrCat("session ", Draw(3));
    if (Draw(3) == 0) {
      cache_.Unpin(session);
      return;
    }
    const KvCacheStats before = cache_.stats();
    const Result<int32_t> pinned =
        cache_.Pin(session, sequence.tokens, sequence.salt, static_cast<int64_t>(Draw(10)));
    if (!pinned.ok()) {
      EXPECT_EQ(cache_.stats().pinned_pages, before.pinned_pages);
    } else {
      Tokens beyond = sequence.tokens;
      beyond.push_back(3);
      const int32_t page_size = cache_.page_size();
      EXPECT_EQ(*pinned, cache_.Lookup(beyond, sequence.salt).tokens / page_size * page_size);
    }
    EXPECT_LE(cache_.stats().pinned_pages, cache_.options().max_pinned_pages);
  }

  void Release() {
    std::swap(sequences_[Draw(sequences_.size())], sequences_.back());
    cache_.Release(sequences_.back().id);
    sequences_.pop_back();
  }

  void Check() {
    const Status sound = cache_.CheckInvariants();
    ASSERT_TRUE(sound.ok()) << sound.message();
    ASSERT_TRUE(cache_.health().ok()) << cache_.health().message();
    for (const Sequence& sequence : sequences_) {
      ASSERT_EQ(cache_.Table(sequence.id).length(), static_cast<int32_t>(sequence.tokens.size()));
    }
  }

  std::mt19937_64 random_;
  bool evicts_;
  bool waits_;
  bool failing_;
  Memory memory_;
  KvCache cache_;
  std::vector<Sequence> sequences_;
  std::vector<Tokens> seen_;                        // to begin like
  std::map<KvSequenceId, Tokens> wanted_;           // how a sequence goes on
  std::map<KvSequenceId, size_t> published_pages_;  // at least
  std::set<std::pair<uint64_t, Tokens>> published_;
  int64_t now_ = 0;
  int64_t copies_ = 0;
};

struct Totals {
  int64_t copies = 0;
  int64_t hit_tokens = 0;
  int64_t evicted = 0;
  int64_t deduplicated = 0;
  int64_t stored = 0;
  int64_t loaded = 0;
  int64_t failed = 0;
};

void RunScenario(uint64_t seed, bool evicts, Totals& totals) {
  std::mt19937_64 random(seed);
  constexpr int32_t kPageSizes[] = {1, 2, 4, 8, 32, 64};
  const int32_t page_size = kPageSizes[random() % 6];
  const int32_t num_pages = evicts ? 2 + static_cast<int32_t>(random() % 40) : 3000;
  const KvCacheOptions options = {
      .page_size = page_size,
      .num_pages = num_pages,
      .prefix_caching = random() % 8 > 0,
      .eviction = static_cast<EvictionKind>(random() % 3),
      .partial_matches = random() % 2 > 0,
      .max_pinned_pages = num_pages / 2 * static_cast<int32_t>(random() % 2)};
  SCOPED_TRACE(StrCat("seed ", seed, ", page size ", page_size, ", ", options.num_pages, " pages"));
  TierScenario tiers;
  if (evicts && random() % 2 == 0) {
    tiers.slots.assign(1 + random() % 2, 1 + static_cast<int32_t>(random() % 60));
    tiers.failures = random() % 4 == 0 ? 0.1 : 0;
    tiers.waits = random() % 4 > 0;
  }
  CacheModel model(seed, options, evicts, tiers);
  model.Run(evicts ? 400 : 150);
  totals.copies += model.copies();
  totals.hit_tokens += model.cache().stats().hit_tokens;
  totals.evicted += model.cache().stats().evicted_pages;
  totals.deduplicated += model.cache().stats().deduplicated_pages;
  totals.stored += model.cache().stats().stored_pages;
  totals.loaded += model.cache().stats().loaded_pages;
  totals.failed += model.cache().stats().failed_copies;
}

TEST(KvCacheModel, EverySequenceReadsItsOwnHistory) {
  const uint64_t seed = TestSeed();
  Totals totals;
  for (uint64_t i = 0; i < 600 && !testing::Test::HasFailure(); ++i) {
    RunScenario(seed + i, true, totals);
  }
  EXPECT_GT(totals.copies, 300);
  EXPECT_GT(totals.hit_tokens, 10'000);
  EXPECT_GT(totals.evicted, 3'000);
  EXPECT_GT(totals.deduplicated, 300);
  EXPECT_GT(totals.stored, 3'000);
  EXPECT_GT(totals.loaded, 60);
  EXPECT_GT(totals.failed, 60);
}

TEST(KvCacheModel, WithoutEvictionAllThatWasPublishedIsFound) {
  const uint64_t seed = TestSeed();
  Totals totals;
  for (uint64_t i = 0; i < 40 && !testing::Test::HasFailure(); ++i) {
    RunScenario(seed + i, false, totals);
  }
  EXPECT_EQ(totals.evicted, 0);
  EXPECT_GT(totals.hit_tokens, 200);
}

}  // namespace
}  // namespace quire
