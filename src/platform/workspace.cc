#include "platform/workspace.h"

#include <algorithm>

namespace quire {

namespace {
constexpr size_t kMinBlockBytes = size_t{1} << 20;
}

void* Workspace::AllocateBytes(size_t bytes) {
  bytes = std::max(bytes, size_t{1});
  bytes = (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
  while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].bytes()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const size_t last = blocks_.empty() ? 0 : blocks_.back().bytes();
    Result<Buffer> block = device_.Allocate(std::max({bytes, kMinBlockBytes, 2 * last}));
    if (!block.ok()) {
      block = device_.Allocate(bytes);
    }
    if (!block.ok()) {
      throw WorkspaceExhausted(block.status());
    }
    blocks_.push_back(*std::move(block));
    used_ = 0;
  }
  void* data = static_cast<std::byte*>(blocks_[block_].data()) + used_;
  used_ += bytes;
  return data;
}

size_t Workspace::capacity() const {
  size_t total = 0;
  for (const Buffer& block : blocks_) {
    total += block.bytes();
  }
  return total;
}

}  // namespace quire
