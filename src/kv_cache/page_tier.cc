#include "kv_cache/page_tier.h"

#include "base/check.h"

namespace quire {

PageTier::PageTier(std::string name, std::unique_ptr<PageStore> store)
    : name_(std::move(name)), store_(std::move(store)), usable_slots_(store_->num_slots()) {
  for (int32_t slot = usable_slots_ - 1; slot >= 0; --slot) {
    free_slots_.push_back(slot);
  }
  thread_ = std::thread([this] { Work(); });
}

PageTier::~PageTier() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void PageTier::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) {
      return;
    }
    Job job = waiting_.front();
    waiting_.pop_front();
    working_ = true;
    lock.unlock();
    job.status = job.load ? store_->Get(job.slot, job.page) : store_->Put(job.page, job.slot);
    lock.lock();
    working_ = false;
    ended_.push_back(std::move(job));
    changed_.notify_all();
  }
}

void PageTier::Begin(const Job& job) {
  ++jobs_;
  stores_ += job.load ? 0 : 1;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(job);
  }
  changed_.notify_all();
}

bool PageTier::Has(const PageKey& key) const {
  const auto it = entries_.find(key);
  return it != entries_.end() && it->second.stored;
}

void PageTier::Use(const PageKey& key, Entry& entry) {
  recency_.erase({entry.last_use, key});
  entry.last_use = ++uses_;
  if (entry.stored && entry.loads == 0) {
    recency_.emplace(entry.last_use, key);
  }
}

int32_t PageTier::TakeSlot() {
  if (free_slots_.empty()) {
    if (recency_.empty()) {
      return -1;
    }
    const PageKey oldest = recency_.begin()->second;
    recency_.erase(recency_.begin());
    free_slots_.push_back(entries_.at(oldest).slot);
    entries_.erase(oldest);
  }
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

bool PageTier::Store(const PageKey& key, int32_t page) {
  const auto it = entries_.find(key);
  if (it != entries_.end()) {
    Use(key, it->second);
    return false;
  }
  const int32_t slot = CanBegin() ? TakeSlot() : -1;
  if (slot < 0) {
    return false;
  }
  entries_.emplace(key, Entry{.slot = slot});
  Begin({.load = false, .key = key, .page = page, .slot = slot, .status = {}});
  return true;
}

bool PageTier::Load(const PageKey& key, int32_t page) {
  if (!CanBegin() || !Has(key)) {
    return false;
  }
  Entry& entry = entries_.at(key);
  ++entry.loads;
  Use(key, entry);
  Begin({.load = true, .key = key, .page = page, .slot = entry.slot, .status = {}});
  return true;
}

std::vector<PageTier::Ended> PageTier::Poll() {
  std::vector<Job> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(ended_);
  }
  std::vector<Ended> ended;
  for (const Job& job : jobs) {
    --jobs_;
    job.load ? EndLoad(job) : EndStore(job);
    ended.push_back({.load = job.load,
                     .page = job.page,
                     .status = job.status.WithContext(StrCat("kv pages on ", name_))});
  }
  return ended;
}

void PageTier::EndStore(const Job& job) {
  --stores_;
  if (!job.status.ok()) {
    // The slot did not take the page and may not take another.
    entries_.erase(job.key);
    --usable_slots_;
    return;
  }
  Entry& entry = entries_.at(job.key);
  entry.stored = true;
  Use(job.key, entry);
}

void PageTier::EndLoad(const Job& job) {
  Entry& entry = entries_.at(job.key);
  --entry.loads;
  if (!job.status.ok()) {
    entry.stored = false;
  }
  Use(job.key, entry);
  if (!entry.stored && entry.loads == 0) {
    free_slots_.push_back(entry.slot);
    entries_.erase(job.key);
  }
}

void PageTier::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !working_; });
}

void PageTier::Clear() {
  QUIRE_CHECK_EQ(jobs_, size_t{0}) << "copies of the tier on " << name_ << " are under way";
  for (const auto& [key, entry] : entries_) {
    free_slots_.push_back(entry.slot);
  }
  entries_.clear();
  recency_.clear();
}

}  // namespace quire
