// Devices and their memory: the only names under which the rest of Quire knows hardware.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace quire {

enum class PlatformKind : uint8_t { kCpu, kCuda, kMusa, kMaca, kAscend };

// Lowercase name, e.g. "cpu".
std::string_view PlatformName(PlatformKind kind);

// Where memory lives. Host memory is the CPU platform's device 0; pinned host memory is host memory
// too.
struct Place {
  PlatformKind platform = PlatformKind::kCpu;
  int device = 0;

  static Place Host() { return {}; }
  bool IsHost() const { return platform == PlatformKind::kCpu; }
  bool operator==(const Place&) const = default;
};

// "cpu:0"
std::string PlaceName(Place place);

// Owned bytes at a place, aligned to kAlignment; freed on destruction. Movable, not copyable.
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;
  using Deleter = void (*)(void* data, size_t bytes);

  Buffer() = default;
  Buffer(void* data, size_t bytes, Place place, Deleter deleter)
      : data_(data), bytes_(bytes), place_(place), deleter_(deleter) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(place_, other.place_);
    std::swap(deleter_, other.deleter_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) {
      deleter_(data_, bytes_);
    }
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Place place() const { return place_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Place place_;
  Deleter deleter_ = nullptr;
};

struct DeviceProperties {
  std::string name;             // "AMD EPYC ...", "NVIDIA H100 80GB HBM3"
  std::string instruction_set;  // the best set this build has kernels for: "avx512", "avx2",
                                // "baseline", ...
  int compute_units = 0;        // hardware threads of a CPU, multiprocessors of an accelerator
  size_t total_memory = 0;      // bytes
};

class Device;
class Stream;

// A point in a stream's order. Any thread may wait for it, also after the stream is gone.
class Event {
 public:
  virtual ~Event() = default;
  // Returns when the work before the point has finished; the first error of that work, if any.
  virtual Status Wait() = 0;
};

// Work that was recorded once and is enqueued as a whole: what the device is to do is known to it,
// so that the host has little to do.
class Graph {
 public:
  virtual ~Graph() = default;
  // Enqueues the work. It has the addresses and extents of its recording, and what lies there when
  // it runs: a recorded copy from pinned memory takes what the host has written there since. One
  // replay after the other: the work of two does not overlap.
  virtual Status Replay(Stream& stream) = 0;
};

// A queue of work on one device, in order. One thread at a time enqueues.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Device& device() const = 0;
  // Enqueues a copy of `bytes` bytes that do not overlap. Each end is host memory or memory of this
  // device. Where the device is asynchronous, a copy from or to pinned memory returns at once, and
  // both ends must stay as they are until the stream has come past it; one from or to other host
  // memory may wait for the stream.
  virtual Status Copy(void* to, Place to_place, const void* from, Place from_place,
                      size_t bytes) = 0;
  // Records what `enqueue` enqueues on this stream instead of running it. What it allocates must
  // live as long as the graph; it must not wait. Errors: those of `enqueue`; unsupported where the
  // device is not asynchronous.
  virtual Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& enqueue) = 0;
  // The point behind all work enqueued so far.
  virtual Result<std::unique_ptr<Event>> Record() = 0;
  // Returns when all enqueued work has finished; the first error of that work, if any.
  virtual Status Synchronize() = 0;
};

// One device of a platform. Thread-safe.
class Device {
 public:
  virtual ~Device() = default;
  virtual Place place() const = 0;
  virtual const DeviceProperties& properties() const = 0;
  // Whether enqueued work may still run when the call that enqueued it has returned. If not,
  // operators and copies are done when they return, and device memory is host memory.
  virtual bool is_asynchronous() const = 0;
  // Uninitialized device memory; resource_exhausted names the size asked for.
  virtual Result<Buffer> Allocate(size_t bytes) = 0;
  // Uninitialized host memory that streams of this device copy from and to asynchronously.
  virtual Result<Buffer> AllocatePinned(size_t bytes) = 0;
  // Gets the memory behind `data`, which Allocate() gave, from the system now instead of at its
  // first use, which then takes no milliseconds; false if there is no such thing here. What lies
  // there stays as it is and may be used meanwhile.
  virtual bool Populate(void*, size_t) { return false; }
  virtual Result<size_t> AvailableMemory() const = 0;
  virtual Result<std::unique_ptr<Stream>> CreateStream() = 0;

  // How often anyone has waited for work of this device: in Stream::Synchronize(), in a copy from
  // or to memory that is not pinned, for an event (that an accelerator has not come past yet).
  uint64_t waits() const { return waits_.load(std::memory_order_relaxed); }
  // For a platform's streams and events.
  void CountWait() { waits_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> waits_ = 0;
};

}  // namespace quire
