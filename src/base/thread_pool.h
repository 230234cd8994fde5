// A fixed team of threads that runs one parallel region at a time, for kernels that take
// microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace quire {

// `size` workers: the calling thread is worker 0, the others wait for regions: they spin for a
// short time, then sleep on a futex. One thread at a time may start regions; regions do not nest.
class ThreadPool {
 public:
  // REQUIRES: threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(worker) once on every worker, 0 <= worker < size(); returns when all have returned.
  template <typename Body>
  void Run(const Body& body) {
    RunRegion({[](const void* b, int worker) { (*static_cast<const Body*>(b))(worker); }, &body});
  }

  // Calls body(task, worker) once for every 0 <= task < tasks, tasks claimed in ascending order.
  // Which worker runs a task is not fixed: results must not depend on it. Runs inline for a single
  // task or worker.
  template <typename Body>
  void ParallelFor(int64_t tasks, const Body& body) {
    if (tasks <= 1 || size() == 1) {
      for (int64_t task = 0; task < tasks; ++task) {
        body(task, 0);
      }
      return;
    }
    next_task_.store(0, std::memory_order_relaxed);
    Run([&](int worker) {
      int64_t task;
      while ((task = next_task_.fetch_add(1, std::memory_order_relaxed)) < tasks) {
        body(task, worker);
      }
    });
  }

 private:
  struct Region {
    void (*call)(const void* body, int worker) = nullptr;
    const void* body = nullptr;
  };

  void RunRegion(Region region);
  void WorkerLoop(int worker);

  Region region_;
  alignas(64) std::atomic<uint32_t> generation_{
      0};                                    // bumped to start a region; also the futex word
  alignas(64) std::atomic<int> running_{0};  // workers other than 0 still inside the region
  alignas(64) std::atomic<int64_t> next_task_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::jthread> threads_;
};

}  // namespace quire
