// Pinned host memory that is used again: allocating it takes longer than a step.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "platform/device.h"

namespace quire {

// Thread-safe. What it lends may outlive it.
class PinnedPool {
 public:
  explicit PinnedPool(Device& device) : device_(device), free_(std::make_shared<FreeList>()) {}

  // At least `bytes` uninitialized bytes, which come back when the last copy of the pointer goes:
  // let it go only when the device is done with them. Errors: resource_exhausted.
  Result<std::shared_ptr<std::byte>> Take(size_t bytes);

 private:
  struct FreeList {
    std::mutex mutex;
    std::vector<Buffer> buffers;
  };

  Device& device_;
  std::shared_ptr<FreeList> free_;
};

}  // namespace quire
