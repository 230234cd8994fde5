// PageTier: keeps the content of pages under their keys, in the background.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kv_cache/page_key.h"
#include "kv_cache/page_store.h"

namespace quire {

// A bounded store of pages with an order of its own: what was stored or loaded least recently makes
// room. Store and Load only begin a copy, which a thread of the tier's does; Poll says what has
// ended. Who calls keeps the device page as it is until then. What fails is forgotten by the tier,
// which goes on with the slots that work. One calling thread at a time.
class PageTier {
 public:
  // Copies that may be under way at a time.
  static constexpr size_t kMaxJobs = 16;

  // `name` is for messages: "host", "disk".
  PageTier(std::string name, std::unique_ptr<PageStore> store);
  // Waits for the copy that is being done; forgets the others.
  ~PageTier();
  PageTier(const PageTier&) = delete;
  PageTier& operator=(const PageTier&) = delete;

  // Can the content of `key` be loaded?
  bool Has(const PageKey& key) const;
  // Is there a slot that works, and a job free, for one more copy?
  bool CanBegin() const { return jobs_ < kMaxJobs && usable_slots_ > 0; }

  // Begins to keep the content of `page` under `key`. False if there is nothing to do, since the
  // tier has it or is about to, or nothing can be done, since CanBegin() is false or all slots are
  // being copied.
  bool Store(const PageKey& key, int32_t page);
  // Begins to write the content of `key` to `page`. False if CanBegin() or Has(key) is false.
  bool Load(const PageKey& key, int32_t page);

  struct Ended {
    bool load = false;  // else a store
    int32_t page = 0;
    Status status;  // names the tier
  };
  // The copies that have ended since the last call, in the order in which they began. Returns at
  // once.
  std::vector<Ended> Poll();
  // Returns when all copies begun have ended; Poll has still to be called.
  void Wait();
  // Forgets everything. REQUIRES: no copies are under way.
  void Clear();

  int32_t stored_pages() const { return static_cast<int32_t>(recency_.size()); }
  // Stores that have begun and that Poll has not returned.
  int32_t stores_under_way() const { return stores_; }

 private:
  struct Entry {
    int32_t slot = 0;
    bool stored = false;
    int32_t loads = 0;  // under way: the slot must stay
    uint64_t last_use = 0;
  };
  struct Job {
    bool load = false;
    PageKey key;
    int32_t page = 0;
    int32_t slot = 0;
    Status status;
  };

  void Work();  // the thread
  void Begin(const Job& job);
  // A slot for new content, -1 if there is none.
  int32_t TakeSlot();
  void Use(const PageKey& key, Entry& entry);
  void EndStore(const Job& job);
  void EndLoad(const Job& job);

  std::string name_;
  std::unique_ptr<PageStore> store_;  // the thread's
  std::map<PageKey, Entry> entries_;
  std::set<std::pair<uint64_t, PageKey>> recency_;  // of what is stored and not being loaded
  std::vector<int32_t> free_slots_;
  int32_t usable_slots_;
  uint64_t uses_ = 0;
  size_t jobs_ = 0;  // begun and not returned by Poll
  int32_t stores_ = 0;

  std::mutex mutex_;  // for what follows
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  std::vector<Job> ended_;
  bool working_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace quire
