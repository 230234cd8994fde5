// A fixed team of threads that runs one parallel region at a time, for kernels that take
// microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace quire {

// `size` workers: the calling thread is worker 0, the others wait for regions: they spin for a
// short time, then sleep on a futex. A region waits for tasks, never for workers: one that wakes
// late, or that the system keeps from running, finds nothing left to do. One thread at a time may
// start regions; regions do not nest.
class ThreadPool {
 public:
  // `pinned`: from the first region on each thread, the one that starts it too, stays on a core of
  // its own, or shares one where the cores are fewer. Else the system moves them as it likes, but
  // for workers that it keeps from running. REQUIRES: threads >= 1.
  explicit ThreadPool(int threads, bool pinned = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) once for every 0 <= task < tasks, tasks claimed in ascending order, 0
  // <= worker < size(); returns when all have returned. A worker runs one task at a time. Which
  // worker runs a task is not fixed: results must not depend on it. Runs inline for a single task
  // or worker. REQUIRES: tasks <= 2^32 - 1.
  template <typename Body>
  void ParallelFor(int64_t tasks, const Body& body) {
    if (tasks <= 1 || size() == 1) {
      for (int64_t task = 0; task < tasks; ++task) {
        body(task, 0);
      }
      return;
    }
    RunRegion({[](const void* b, int64_t task, int worker) {
                 (*static_cast<const Body*>(b))(task, worker);
               },
               &body, tasks});
  }

  // A hint: `worker` will read [data, +bytes) in a region to come, likely first. It asks for that
  // memory while it waits for regions, when its share of the memory's bandwidth is idle. Only speed
  // depends on it: the memory may be gone by then. REQUIRES: 1 <= worker < size().
  void ExpectRead(int worker, const void* data, size_t bytes) {
    workers_[static_cast<size_t>(worker - 1)].expected.Set(data, bytes);
  }

 private:
  // Memory to be read. The worker may see the beginning of one range with the end of another: it
  // only asks for it.
  struct Expected {
    void Set(const void* data, size_t bytes) {
      begin.store(reinterpret_cast<uintptr_t>(data), std::memory_order_relaxed);
      end.store(reinterpret_cast<uintptr_t>(data) + bytes, std::memory_order_relaxed);
    }
    // Asks for the next few lines; false if there are none left.
    bool FetchSome();

    std::atomic<uintptr_t> begin{0};
    std::atomic<uintptr_t> end{0};
  };
  struct Region {
    void (*call)(const void* body, int64_t task, int worker) = nullptr;
    const void* body = nullptr;
    int64_t tasks = 0;
  };
  struct Worker {
    std::jthread thread;
    int missed = 0;  // regions in a row, as their starter counts
    alignas(64) std::atomic<bool> is_asleep{true};
    std::atomic<bool> is_bound{false};
    std::atomic<uint32_t> seen{0};  // the last region that it came to
    Expected expected;
  };
  class Placement;

  void RunRegion(const Region& region);
  void PlaceWorkers();
  void PinThreads();
  // Runs tasks as long as there are unclaimed ones; returns how many.
  int64_t RunTasks(int worker);
  void WorkerLoop(int worker);
  void WaitForRegion(Worker& worker);

  const std::unique_ptr<const Placement> placement_;
  bool to_pin_;  // once a region starts
  const bool pinned_;
  Region region_;  // read by those who have claimed a task of it, written when all are finished
  alignas(64) std::atomic<uint32_t> generation_{0};  // bumped to start a region; the futex word
  alignas(64) std::atomic<uint32_t> unclaimed_{0};   // tasks of the region
  alignas(64) std::atomic<int64_t> unfinished_{0};   // tasks of the region
  std::atomic<bool> stopping_{false};
  std::vector<Worker> workers_;  // but the first
};

}  // namespace quire
