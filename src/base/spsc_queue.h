// A bounded queue between one producer thread and one consumer thread, without locks.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/check.h"

namespace quire {

// Lamport's ring buffer (1983), each side keeping a copy of the other's index. TryPush from one
// thread only, TryPop from one thread only.
template <typename T>
class SpscQueue {
 public:
  // REQUIRES: capacity >= 1.
  explicit SpscQueue(size_t capacity) : slots_(capacity + 1) {
    QUIRE_CHECK_GE(capacity, size_t{1});
  }

  // Moves `value` in and returns true, or leaves it alone and returns false when the queue is full.
  bool TryPush(T& value) {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    const size_t next = Next(tail);
    if (next == cached_head_) {
      cached_head_ = head_.load(std::memory_order_acquire);
      if (next == cached_head_) {
        return false;
      }
    }
    slots_[tail] = std::move(value);
    tail_.store(next, std::memory_order_release);
    return true;
  }

  // Moves the oldest value to `value` and returns true, or returns false when the queue is empty.
  bool TryPop(T& value) {
    const size_t head = head_.load(std::memory_order_relaxed);
    if (head == cached_tail_) {
      cached_tail_ = tail_.load(std::memory_order_acquire);
      if (head == cached_tail_) {
        return false;
      }
    }
    value = std::move(slots_[head]);
    head_.store(Next(head), std::memory_order_release);
    return true;
  }

 private:
  size_t Next(size_t index) const { return index + 1 == slots_.size() ? 0 : index + 1; }

  std::vector<T> slots_;  // one stays empty: head == tail means an empty queue
  alignas(64) std::atomic<size_t> head_{0};
  size_t cached_tail_ = 0;  // the consumer's
  alignas(64) std::atomic<size_t> tail_{0};
  size_t cached_head_ = 0;  // the producer's
};

}  // namespace quire
