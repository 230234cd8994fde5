#include "base/thread_pool.h"

#include <sched.h>

#include <chrono>

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

// Where a new worker starts. The system may start it on the core of the thread that creates it,
// which then spins for it and keeps it from running, until the load is balanced some regions later.
class Placement {
 public:
  Placement() : known_(::sched_getaffinity(0, sizeof(usable_), &usable_) == 0) {}

  // Moves the calling thread to the `index`-th usable core after `start`, and leaves it free to be
  // moved again. Without effect where the system does not tell or refuses.
  void MoveTo(int index, int start) const {
    const int count = known_ ? CPU_COUNT(&usable_) : 0;
    if (count < 2 || start < 0) {
      return;
    }
    int core = start;
    for (int steps = index % count; steps > 0;) {
      core = (core + 1) % CPU_SETSIZE;
      steps -= CPU_ISSET(core, &usable_) ? 1 : 0;
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (::sched_setaffinity(0, sizeof(one), &one) == 0) {
      ::sched_setaffinity(0, sizeof(usable_), &usable_);
    }
  }

 private:
  cpu_set_t usable_;
  bool known_;
};

}  // namespace

ThreadPool::ThreadPool(int threads) {
  QUIRE_CHECK_GE(threads, 1);
  const Placement placement;
  const int here = ::sched_getcpu();
  for (int worker = 1; worker < threads; ++worker) {
    threads_.emplace_back([this, worker, placement, here] {
      placement.MoveTo(worker, here);
      WorkerLoop(worker);
    });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void ThreadPool::RunRegion(Region region) {
  if (threads_.empty()) {
    region.call(region.body, 0);
    return;
  }
  region_ = region;
  running_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  region.call(region.body, 0);
  // Workers that were preempted by the system may be late: after a while give them this core.
  constexpr int kPausesBeforeYield = 2000;
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    Pause();
    if (spins > kPausesBeforeYield) {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::WorkerLoop(int worker) {
  uint32_t seen = 0;
  while (true) {
    auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    while (generation_.load(std::memory_order_acquire) == seen) {
      for (int i = 0; i < kPausesPerClockRead; ++i) {
        Pause();
        if (generation_.load(std::memory_order_acquire) != seen) {
          break;
        }
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        generation_.wait(seen, std::memory_order_acquire);
      }
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) {
      return;
    }
    region_.call(region_.body, worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace quire
