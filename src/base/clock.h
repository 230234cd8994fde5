// Time as an argument, so that tests own it.
#pragma once

#include <cstdint>

namespace quire {

// Monotonic nanoseconds. Implementations are thread-safe unless they say otherwise.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowNs() const = 0;
};

// The machine's steady clock.
class SteadyClock final : public Clock {
 public:
  int64_t NowNs() const override;
};

// A clock that moves when told. For tests; one thread at a time.
class ManualClock final : public Clock {
 public:
  int64_t NowNs() const override { return now_ns_; }
  void Advance(int64_t ns) { now_ns_ += ns; }

 private:
  int64_t now_ns_ = 0;
};

}  // namespace quire
