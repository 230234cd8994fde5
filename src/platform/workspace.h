// Scratch memory of a stream: grows while an engine warms up, then is reused without allocation.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <vector>

#include "platform/device.h"

namespace quire {

// Thrown by Workspace::Allocate() when the device has no more memory. Those who call operators see
// a Status: StatusOfWork().
class WorkspaceExhausted : public std::runtime_error {
 public:
  explicit WorkspaceExhausted(const Status& status) : std::runtime_error(status.message()) {}
};

// What `work`, which returns a Status, returns; resource_exhausted if a workspace is exhausted in
// it.
template <typename Work>
Status StatusOfWork(const Work& work) {
  try {
    return work();
  } catch (const WorkspaceExhausted& exhausted) {
    return ResourceExhausted("workspace: ", exhausted.what());
  }
}

// A stack of blocks on one device. Allocate() takes from the top; a Scope gives everything taken
// since its construction back. Memory stays valid until its Scope ends. One thread at a time.
class Workspace {
 public:
  explicit Workspace(Device& device) : device_(device) {}

  // `count` uninitialized elements, aligned to Buffer::kAlignment. Throws WorkspaceExhausted.
  template <typename T>
  T* Allocate(size_t count) {
    return static_cast<T*>(AllocateBytes(count * sizeof(T)));
  }

  // Bytes held from the device, used or not.
  size_t capacity() const;

  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    ~Scope() {
      workspace_.block_ = block_;
      workspace_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    size_t block_;
    size_t used_;
  };

 private:
  void* AllocateBytes(size_t bytes);

  Device& device_;
  std::vector<Buffer> blocks_;
  size_t block_ = 0;  // index of the block in use; blocks_.size() when there is none yet
  size_t used_ = 0;   // bytes taken from that block
};

}  // namespace quire
