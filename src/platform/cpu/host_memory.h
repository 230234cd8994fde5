// Host memory in huge pages, where the system gives them: walking weights and caches in pages of
// 4 KiB costs up to half of a machine's read bandwidth, above all in a virtual machine.
#pragma once

#include <cstddef>
#include <mutex>

#include "platform/device.h"

namespace quire {

// Hands out buffers, uninitialized. Small ones come from the C library. Those of 64 KiB to 16 MiB
// lie one behind the other in regions of 64 MiB, so that many matrices of less than a huge page
// share huge pages too; a region goes back to the system when its last buffer does. Larger ones
// are mapped alone. Buffers may outlive this object. Thread-safe.
class HostMemory {
 public:
  HostMemory() = default;
  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  // resource_exhausted names the size.
  Result<Buffer> Allocate(size_t bytes);

  // Device::Populate(). A huge page takes the system 0.1 to some milliseconds, the most in a
  // virtual machine whose host must find it too.
  static bool Populate(void* data, size_t bytes);

 private:
  struct Region;

  void* TakeFromRegion(size_t bytes);  // null: no memory
  static void GiveBack(Region* region);

  std::mutex mutex_;
  Region* region_ = nullptr;  // where buffers are taken from now
  size_t used_ = 0;           // of region_
};

}  // namespace quire
