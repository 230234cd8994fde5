// KvCache: the pages of all sequences of an engine, and what can be shared between them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kv_cache/page_key.h"
#include "kv_cache/page_pool.h"
#include "kv_cache/page_table.h"
#include "kv_cache/page_tier.h"
#include "kv_cache/prefix_tree.h"
#include "kv_cache/sequence_slots.h"
#include "kv_cache/session_pins.h"
#include "kv_cache/violations.h"

namespace quire {

struct KvCacheOptions {
  int32_t page_size = 16;  // tokens
  int32_t num_pages = 0;
  bool prefix_caching = true;  // off: nothing is matched or kept
  EvictionKind eviction = EvictionKind::kLru;
  // A match may go on into a page of which only the first tokens are the same, if they are at least
  // a quarter of it and 16: they come by a copy (TakeCopies), which is then cheaper than computing
  // them. Only for callers that do the copies.
  bool partial_matches = false;
  // Pages that sessions may pin in all. Requests can count on the others only.
  int32_t max_pinned_pages = 0;

  // Errors: invalid_argument naming the value.
  Status Validate() const;
};

struct KvCacheStats {
  int32_t free_pages = 0;
  int32_t cached_pages = 0;
  int32_t owned_pages = 0;
  int32_t in_transfer_pages = 0;
  int32_t quarantined_pages = 0;
  int32_t pinned_pages = 0;  // among the owned ones; twice if two sessions pin them
  int64_t violations = 0;    // of the rules of health(), since the last Reset
  // Since the start:
  int64_t queried_tokens = 0;      // of the sequences started
  int64_t hit_tokens = 0;          // of those, found in the prefix tree
  int64_t evicted_pages = 0;       // cached pages whose content was thrown away for new tokens
  int64_t deduplicated_pages = 0;  // computed twice, the second copy given back
  int64_t stored_pages = 0;        // copied to a tier
  int64_t loaded_pages = 0;        // brought back from a tier
  int64_t failed_copies = 0;       // to or from a tier
};

// What a sequence may share, and how its published pages are kept after its end.
struct KvSequenceOptions {
  uint64_t cache_salt = 0;  // sequences of different salts (of tenants, say) share no page
  // With EvictionKind::kPriority: larger stays longer, for `ttl` ticks of AdvanceTo from the end of
  // the sequence on; 0 ticks: for ever. A priority below 0 is 0, that of all others.
  int32_t priority = 0;
  int64_t ttl = 0;
};

// Page tables over one pool, and a prefix tree that keeps whole computed pages for whoever comes
// with the same tokens. Holds no KV itself. The caller computes KV into the slots of Table() and
// says with Publish what has been written: only then may another sequence match it. One thread at a
// time.
//
// A call that no correct caller makes (a sequence that was released or never started, a length that
// cannot be) has no effect beyond an internal Status in health(). A page that turns out to be freed
// or shared wrongly is never used again. The caller then ends all sequences and calls Reset.
class KvCache {
 public:
  // With tiers, the first the fastest, that keep pages beyond their eviction. REQUIRES:
  // options.Validate() is OK.
  explicit KvCache(const KvCacheOptions& options,
                   std::vector<std::unique_ptr<PageTier>> tiers = {});

  const KvCacheOptions& options() const { return options_; }
  int32_t page_size() const { return options_.page_size; }
  // Tokens that a sequence may come to have: those of all pages that cannot be pinned.
  int64_t capacity_tokens() const {
    return int64_t{options_.num_pages - options_.max_pinned_pages} * options_.page_size;
  }
  // Pages that can be had now: free ones and cached ones.
  int32_t available_pages() const { return pool_.num_free() + pool_.num_cached(); }

  struct Prefix {
    int32_t tokens = 0;        // a multiple of the page size, but for partial_matches
    int32_t cached_pages = 0;  // of the matched pages, those that would no longer be available
  };
  // What StartSequence would match, without any effect. Linear in the match's length.
  Prefix Lookup(std::span<const int32_t> tokens, uint64_t cache_salt = 0) const;

  struct Started {
    KvSequenceId id = 0;
    int32_t matched = 0;  // first tokens whose KV is already there; the table's length
  };
  // A new sequence that will hold `tokens`. Takes the longest published prefix in whole pages, and
  // with partial_matches a part of the next, at most tokens.size() - 1 tokens: the last one must be
  // computed to have logits.
  Started StartSequence(std::span<const int32_t> tokens, const KvSequenceOptions& options = {});

  // A new sequence with the same tokens, whose KV has been written. It shares all pages; of the
  // partly filled last one, whoever writes first gets a copy. 0 if there is no such sequence.
  KvSequenceId Fork(KvSequenceId id);

  // Room for `tokens` more tokens at the end of the sequence, evicting cached pages if none are
  // free. False, and nothing changed, if there are not enough pages. REQUIRES: tokens >= 0.
  [[nodiscard]] bool Extend(KvSequenceId id, int32_t tokens);
  // The most tokens for which Extend would succeed now, up to `limit`.
  int32_t RoomFor(KvSequenceId id, int32_t limit) const;

  // Says that the KV of `tokens`, the sequence's history from its start, has been written. Whole
  // pages enter the tree; a page that the tree already has for the same history replaces the
  // sequence's own in its table before the copy is given back. A step in flight may still read what
  // is given back: who gets it must write it after that step.
  // REQUIRES: tokens.size() <= Table(id).length(); what was published before is a prefix of it.
  void Publish(KvSequenceId id, std::span<const int32_t> tokens);

  // Forgets the tokens from `length` on and lets go of exactly the pages that hold only these:
  // published ones stay cached, the others are free. REQUIRES: 0 <= length <= Table(id).length().
  void Truncate(KvSequenceId id, int32_t length);
  // Ends the sequence. Its published pages stay cached, the others are free.
  void Release(KvSequenceId id);

  // Keeps what is published of `tokens`, in whole pages, from eviction until Unpin(session), or for
  // `ttl` ticks of AdvanceTo if that is not 0. Replaces the session's earlier pin. Returns how many
  // tokens it keeps. Errors: resource_exhausted if the pin would need more than max_pinned_pages
  // leaves; an earlier pin stays then.
  Result<int32_t> Pin(const std::string& session, std::span<const int32_t> tokens,
                      uint64_t cache_salt = 0, int64_t ttl = 0);
  // False if the session has no pin.
  bool Unpin(const std::string& session);
  // All pins, by session.
  std::vector<PinnedSession> Pins() const { return pins_.List(); }

  // The pages whose content the next step needs in another place, since Extend has given a sequence
  // its own copy of a page that others hold too. To be copied, in any order, before that step and
  // before any later call; until they are taken, no page of them is given to another sequence.
  // Destinations differ from each other and from all sources.
  std::vector<PageCopy> TakeCopies();

  // Begins to bring back from the tiers what they have of `tokens` behind the longest published
  // prefix. Returns how many tokens are on their way: once these have arrived (PollTiers), Lookup
  // finds them, if they are not evicted before. 0: there is nothing to wait for. The pages on their
  // way cannot be had for anything else: who lacks pages meanwhile calls WaitForTiers. They are
  // written at once, beside the steps: with a step in flight that may still use a page that was
  // given back, `begin` must be false. Then nothing is begun, and the tokens are those on their way
  // or that could be.
  int32_t Prefetch(std::span<const int32_t> tokens, uint64_t cache_salt = 0, bool begin = true);
  // Ends copies to and from tiers that are done and begins others: published pages are copied to
  // all tiers in the background, before they are evicted. Returns at once; to be called before each
  // step. Errors: the first of the copies that failed; nothing is lost by that but the copy.
  Status PollTiers();
  // Are pages on their way from a tier?
  bool is_loading() const { return !arrivals_.empty(); }
  // Returns when the copies under way are done, and polls. For when there is nothing else to do.
  Status WaitForTiers();

  // The time is `now`, in ticks of any length; it does not go back. For priorities and pins that
  // expire.
  void AdvanceTo(int64_t now);

  // The table of an unknown sequence is empty.
  const PageTable& Table(KvSequenceId id) const;
  int32_t num_sequences() const { return sequences_.size(); }
  KvCacheStats stats() const;

  // OK, or internal: the first rule broken since the last Reset, by the caller or by the cache.
  Status health() const;
  // Ends all sequences and forgets all pages, violations included; ids are not used again.
  // REQUIRES: no step is in flight.
  void Reset();

  // Pool, tree and tables agree: free + cached + owned + in transfer + quarantined is all pages;
  // its owners, transfers and reads are exactly what holds and copies it; a table's published pages
  // are the tree's on the path that the sequence locks. Linear in everything. Errors: internal.
  Status CheckInvariants() const;

 private:
  struct Sequence {
    KvSequenceOptions options;
    PageTable table{1};
    PrefixTree::NodeId node = PrefixTree::kRoot;  // where its published pages end; locked
    int32_t published_pages = 0;
  };

  // Pages on their way from a tier, owned by a sequence that nobody sees.
  struct Arrival {
    Sequence sequence;
    std::vector<int32_t> tokens = {};
    std::vector<bool> arrived = {};  // of the pages behind the published ones
    int32_t under_way = 0;
  };
  // A published page that a tier has still to copy, unless it is evicted before.
  struct Unstored {
    int32_t page = 0;
    PageKey key;
  };

  PageKey KeyAt(const Sequence& sequence, size_t pages) const;
  // Names the pages [first, last) of the sequence, whose tokens these are, for the tiers.
  void NamePages(const Sequence& sequence, size_t first, size_t last,
                 std::span<const int32_t> tokens);
  void BeginStores(size_t tier);
  Status EndCopies(PageTier& tier);
  // Ends all stores that are under way. False if there are none.
  bool WaitForStores();
  void EndLoad(int32_t page, const Status& status);
  // The tier that has each of the pages of `tokens` behind `key`, up to the first that none has.
  std::vector<std::pair<PageTier*, PageKey>> FindInTiers(PageKey key,
                                                         std::span<const int32_t> tokens) const;
  int32_t BeginLoads(const PageKey& first, std::span<const std::pair<PageTier*, PageKey>> found,
                     std::span<const int32_t> tokens, size_t published, uint64_t cache_salt);
  Sequence Begin(std::span<const int32_t> tokens, const KvSequenceOptions& options);
  void End(Sequence& sequence);

  // Null, and a violation, if there is no such sequence.
  const Sequence* Find(KvSequenceId id) const;
  Sequence* Find(KvSequenceId id) { return const_cast<Sequence*>(std::as_const(*this).Find(id)); }
  // The tick `ttl` from now; 0: never.
  int64_t ExpiryOf(int64_t ttl) const;
  // The part of `tokens` that may be shared: nothing in quarantine.
  std::span<const int32_t> Unquarantined(std::span<const int32_t> tokens, uint64_t salt) const;
  // The part that may be matched: all but the last.
  std::span<const int32_t> Matchable(std::span<const int32_t> tokens, uint64_t salt) const;
  // Evicts cached pages until `pages` are free. False, with a violation, if they cannot be had
  // though the counts say so.
  bool MakeFree(int32_t pages);
  // Lets the tree have what is new of `tokens`, whole pages.
  void PublishPages(Sequence& sequence, std::span<const int32_t> tokens);
  // Pages that Extend would take.
  int64_t PagesFor(const PageTable& table, int32_t tokens) const;
  // Is the tree the only one that shares the last page with its sequence, and no page to be had for
  // a copy? Then the sequence can have it back.
  bool CanTakeBack(const PageTable& table) const;
  void TakeBackLastPage(const PageTable& table);
  void CopyLastPage(PageTable& table);
  void LetGo(std::span<const int32_t> evicted);
  // The sequence's published pages end at `node` from now on.
  void MoveTo(Sequence& sequence, PrefixTree::NodeId node);
  bool MayShare(int32_t page) const { return pool_.StateOf(page) != PagePool::State::kQuarantined; }
  // The first of `pages` up to one that may not be shared.
  std::span<const int32_t> Sharable(std::span<const int32_t> pages) const;
  Status CheckSequence(KvSequenceId id, const Sequence& sequence) const;

  KvCacheOptions options_;
  PagePool pool_;
  PrefixTree tree_;
  SequenceSlots<Sequence> sequences_;
  SessionPins pins_;
  std::vector<std::unique_ptr<PageTier>> tiers_;
  std::vector<PageKey> keys_;                   // with tiers: of the pages in the tree
  std::vector<std::deque<Unstored>> unstored_;  // for each tier, in the order of publication
  std::map<PageKey, Arrival> arrivals_;         // by the first page on its way
  std::map<int32_t, PageKey> arriving_;         // page to arrival
  Status tier_status_;                          // of copies that ended outside of PollTiers
  std::map<int32_t, int32_t> copies_;           // not taken yet: destination, source
  int64_t now_ = 0;
  KvCacheStats totals_;  // the counters since the start; its page counts are unused
  PageTable no_table_;
  mutable Violations violations_;  // of callers; asking for an unknown sequence is one
};

}  // namespace quire
