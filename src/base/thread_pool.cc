#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/check.h"

namespace quire {

namespace {

// Long enough to bridge the serial code between two operators, short enough not to burn an idle
// core.
constexpr std::chrono::microseconds kSpinTime{200};
constexpr int kPausesPerClockRead = 64;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// Where workers run. Left to itself, the system starts one, or wakes it, on the core of the thread
// that needs it if something else runs on the others. That thread then does all the work while the
// worker waits for the core, region after region: for milliseconds, and seconds were seen.
class ThreadPool::Placement {
 public:
  Placement() : known_(::sched_getaffinity(0, sizeof(usable_), &usable_) == 0) {}

  // Binds a thread to the `index`-th usable core after the calling thread's. Without effect where
  // the system does not tell or refuses.
  void Bind(pthread_t thread, int index) const {
    const int count = known_ ? CPU_COUNT(&usable_) : 0;
    int core = ::sched_getcpu();
    if (count < 2 || core < 0) {
      return;
    }
    for (int steps = index % count; steps > 0;) {
      core = (core + 1) % CPU_SETSIZE;
      steps -= CPU_ISSET(core, &usable_) ? 1 : 0;
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    ::pthread_setaffinity_np(thread, sizeof(one), &one);
  }

  // Leaves the calling thread free to be moved.
  void Free() const {
    if (known_) {
      ::sched_setaffinity(0, sizeof(usable_), &usable_);
    }
  }

 private:
  cpu_set_t usable_;
  bool known_;
};

ThreadPool::ThreadPool(int threads, bool pinned)
    : placement_(std::make_unique<Placement>()), to_pin_(pinned), pinned_(pinned) {
  QUIRE_CHECK_GE(threads, 1);
  workers_ = std::vector<Worker>(static_cast<size_t>(threads - 1));
  for (int worker = 1; worker < threads; ++worker) {
    workers_[worker - 1].thread = std::jthread([this, worker] { WorkerLoop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void ThreadPool::RunRegion(const Region& region) {
  region_ = region;
  unfinished_.store(region.tasks, std::memory_order_relaxed);
  unclaimed_.store(static_cast<uint32_t>(region.tasks), std::memory_order_release);
  if (!pinned_) {
    PlaceWorkers();
  } else if (to_pin_) {
    PinThreads();
  }
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  unfinished_.fetch_sub(RunTasks(0), std::memory_order_relaxed);
  // A worker that the system has stopped in the middle of a task: after a while give it this core.
  constexpr int kPausesBeforeYield = 2000;
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) {
    Pause();
    if (spins > kPausesBeforeYield) {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::PinThreads() {
  placement_->Bind(::pthread_self(), 0);
  for (int index = 1; index < size(); ++index) {
    placement_->Bind(workers_[static_cast<size_t>(index - 1)].thread.native_handle(), index);
  }
  to_pin_ = false;
}

// Puts those that must be woken, or have not come for a while, on cores of their own.
void ThreadPool::PlaceWorkers() {
  constexpr int kMissedRegions = 16;  // some are too short to come to
  const uint32_t last = generation_.load(std::memory_order_relaxed);
  for (int index = 1; index < size(); ++index) {
    Worker& worker = workers_[index - 1];
    const bool came = worker.seen.load(std::memory_order_relaxed) == last;
    worker.missed = came ? 0 : worker.missed + 1;
    if (worker.is_asleep.load(std::memory_order_relaxed) || worker.missed == kMissedRegions) {
      placement_->Bind(worker.thread.native_handle(), index);
      worker.is_bound.store(true, std::memory_order_relaxed);
      worker.missed = 0;
    }
  }
}

int64_t ThreadPool::RunTasks(int worker) {
  int64_t count = 0;
  uint32_t unclaimed = unclaimed_.load(std::memory_order_relaxed);
  while (unclaimed > 0) {
    if (unclaimed_.compare_exchange_weak(unclaimed, unclaimed - 1, std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
      region_.call(region_.body, region_.tasks - unclaimed, worker);
      ++count;
      unclaimed = unclaimed_.load(std::memory_order_relaxed);
    }
  }
  return count;
}

bool ThreadPool::Expected::FetchSome() {
  constexpr uintptr_t kLine = 64;
  constexpr uintptr_t kLines = 4;
  uintptr_t line = begin.load(std::memory_order_relaxed);
  const uintptr_t stop = std::min(end.load(std::memory_order_relaxed), line + kLines * kLine);
  if (line >= stop) {
    return false;
  }
  for (uintptr_t next = line; next < stop; next += kLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(next));
  }
  // Unless there is another range by now.
  begin.compare_exchange_strong(line, stop, std::memory_order_relaxed);
  return true;
}

void ThreadPool::WorkerLoop(int index) {
  Worker& worker = workers_[index - 1];
  worker.is_asleep.store(false, std::memory_order_relaxed);
  while (true) {
    WaitForRegion(worker);
    worker.seen.store(generation_.load(std::memory_order_acquire), std::memory_order_relaxed);
    if (stopping_.load(std::memory_order_relaxed)) {
      return;
    }
    unfinished_.fetch_sub(RunTasks(index), std::memory_order_release);
    if (worker.is_bound.load(std::memory_order_relaxed)) {
      worker.is_bound.store(false, std::memory_order_relaxed);
      placement_->Free();
    }
  }
}

// Returns when a region has started that the worker has not seen.
void ThreadPool::WaitForRegion(Worker& worker) {
  const uint32_t seen = worker.seen.load(std::memory_order_relaxed);
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  while (std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (generation_.load(std::memory_order_acquire) != seen) {
        return;
      }
      if (!worker.expected.FetchSome()) {
        Pause();
      }
    }
  }
  worker.is_asleep.store(true, std::memory_order_relaxed);
  generation_.wait(seen, std::memory_order_acquire);
  worker.is_asleep.store(false, std::memory_order_relaxed);
}

}  // namespace quire
