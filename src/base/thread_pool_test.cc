#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "base/test_seed.h"

namespace quire {
namespace {

TEST(ThreadPoolTest, ParallelForRunsEveryTaskOnce) {
  ThreadPool pool(4);
  for (const int64_t tasks : {0, 1, 2, 3, 4, 5, 1000}) {
    std::vector<int> calls(tasks, 0);
    pool.ParallelFor(tasks, [&](int64_t task, int worker) {
      ASSERT_GE(worker, 0);
      ASSERT_LT(worker, 4);
      ++calls[task];
    });
    EXPECT_EQ(calls, std::vector<int>(tasks, 1)) << tasks;
  }
}

TEST(ThreadPoolTest, OneTaskOrOneWorkerRunsInline) {
  const std::thread::id self = std::this_thread::get_id();
  ThreadPool many(3);
  many.ParallelFor(1, [&](int64_t, int worker) {
    EXPECT_EQ(worker, 0);
    EXPECT_EQ(std::this_thread::get_id(), self);
  });
  ThreadPool one(1);
  std::vector<int64_t> order;
  one.ParallelFor(5, [&](int64_t task, int) { order.push_back(task); });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

// The cores that the calling thread may use.
std::set<int> OwnCores() {
  cpu_set_t usable;
  EXPECT_EQ(::sched_getaffinity(0, sizeof(usable), &usable), 0);
  std::set<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &usable)) {
      cores.insert(core);
    }
  }
  return cores;
}

TEST(ThreadPoolTest, PinnedThreadsHaveACoreEach) {
  std::vector<std::set<int>> cores(2);
  size_t usable = 0;
  std::thread starter([&] {  // which stays pinned
    usable = OwnCores().size();
    ThreadPool pool(2, true);
    for (int region = 0; region < 3; ++region) {
      std::atomic<int> arrived = 0;
      pool.ParallelFor(2, [&](int64_t, int worker) {
        cores[static_cast<size_t>(worker)] = OwnCores();
        ++arrived;
        while (arrived < 2) {
          std::this_thread::yield();
        }
      });
    }
  });
  starter.join();
  if (usable < 2) {
    GTEST_SKIP() << "one core";
  }
  EXPECT_EQ(cores[0].size(), 1u);
  EXPECT_EQ(cores[1].size(), 1u);
  EXPECT_NE(cores[0], cores[1]);
}

// Tasks that wait for each other need all workers, each with its own number.
TEST(ThreadPoolTest, EveryWorkerTakesATask) {
  for (const int threads : {2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    std::vector<std::thread::id> before(threads);
    for (int region = 0; region < 3; ++region) {
      std::atomic<int> arrived = 0;
      std::vector<std::thread::id> ids(threads);
      pool.ParallelFor(threads, [&](int64_t, int worker) {
        ids[worker] = std::this_thread::get_id();
        ++arrived;
        while (arrived < threads) {
          std::this_thread::yield();
        }
      });
      EXPECT_EQ(ids[0], std::this_thread::get_id());
      EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), threads);
      EXPECT_TRUE(region == 0 || ids == before) << "the workers keep their numbers";
      before = ids;
    }
  }
}

// Each region reads what the one before wrote: wrong ordering gives a wrong sum, and a report under
// the thread sanitizer. Pauses now and then let the workers fall asleep, so that both ways of
// waiting are used.
TEST(ThreadPoolTest, StressOfDependentRegions) {
  std::mt19937_64 random(TestSeed());
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 1);
  std::vector<int64_t> next(64);
  std::vector<int64_t> expected = values;
  for (int region = 0; region < 1000; ++region) {
    const auto shift = static_cast<int64_t>(random() % 64);
    pool.ParallelFor(
        64, [&](int64_t i, int) { next[i] = (values[i] + values[(i + shift) % 64]) % 1009; });
    std::vector<int64_t> wanted(64);
    for (int64_t i = 0; i < 64; ++i) {
      wanted[i] = (expected[i] + expected[(i + shift) % 64]) % 1009;
    }
    values.swap(next);
    expected.swap(wanted);
    ASSERT_EQ(values, expected) << region;
    if (random() % 100 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    }
  }
}

// Memory that a worker expects is never read: it may be anything.
TEST(ThreadPoolTest, ExpectedMemoryNeedNotExist) {
  ThreadPool pool(3);
  std::vector<int> calls(3, 0);
  for (int region = 0; region < 300; ++region) {
    const auto nowhere = static_cast<uintptr_t>(region) << 40;
    pool.ExpectRead(1 + region % 2, reinterpret_cast<const void*>(nowhere + 13), 100'000);
    pool.ParallelFor(3, [&](int64_t task, int) { ++calls[task]; });
    if (region % 50 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(400));  // some fall asleep
    }
  }
  EXPECT_EQ(calls, std::vector<int>(3, 300));
}

TEST(ThreadPoolTest, RegionsOfUnevenLength) {
  ThreadPool pool(3);
  for (int slow = 0; slow < 3; ++slow) {
    std::vector<int> calls(3, 0);
    pool.ParallelFor(3, [&](int64_t task, int) {
      if (task == slow) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      ++calls[task];
    });
    EXPECT_EQ(calls, std::vector<int>(3, 1));
  }
}

TEST(ThreadPoolTest, StartsAndStopsAtAnyMoment) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(3);
    if (i % 2 == 0) {
      std::vector<int> calls(3, 0);
      pool.ParallelFor(3, [&](int64_t task, int) { ++calls[task]; });
      EXPECT_EQ(calls, std::vector<int>(3, 1));
    }
    if (i % 7 == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

TEST(ThreadPoolTest, SeveralPoolsAtOnce) {
  std::vector<int64_t> sums(3, 0);
  std::vector<std::thread> owners;
  for (int owner = 0; owner < 3; ++owner) {
    owners.emplace_back([&sums, owner] {
      ThreadPool pool(2);
      std::vector<int64_t> parts(2, 0);
      for (int region = 0; region < 200; ++region) {
        pool.ParallelFor(10, [&](int64_t task, int worker) { parts[worker] += task; });
      }
      sums[owner] = std::accumulate(parts.begin(), parts.end(), int64_t{0});
    });
  }
  for (std::thread& owner : owners) {
    owner.join();
  }
  EXPECT_EQ(sums, std::vector<int64_t>(3, 200 * 45));
}

TEST(ThreadPoolDeathTest, NoThreads) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(ThreadPool(0), "\\(0 vs 1\\)");
}

}  // namespace
}  // namespace quire
