// Memory of a backend's plans: made on the host once a step, read by the step's kernels.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "platform/device.h"

namespace quire {

// One thread at a time. The device's copy stays at its address until a plan is larger than all
// before it: then captured calls that read it must be captured again.
class CudaStepMemory {
 public:
  // Pinned memory for a plan of `bytes` bytes; waits where the stream has not yet come past the
  // plan before the last. Errors: resource_exhausted; those of the device.
  Result<std::byte*> Begin(Stream& stream, size_t bytes);

  // Enqueues the copy of the first `bytes` bytes of the plan that Begin() gave.
  Status Send(Stream& stream, size_t bytes);

  // After a copy that somebody else has enqueued.
  Status Sent(Stream& stream);

  // Where the kernels find it.
  std::byte* device() const { return static_cast<std::byte*>(device_.data()); }

 private:
  struct Staging {
    Buffer memory;
    std::unique_ptr<Event> sent;
  };

  std::array<Staging, 2> staging_;  // the step before may still be on its way
  size_t turn_ = 0;
  Buffer device_;
};

// `buffer` with at least `bytes` bytes of `device`'s memory; its contents are lost when it grows.
// Errors: resource_exhausted.
Status Reserve(Device& device, size_t bytes, Buffer& buffer);

}  // namespace quire
