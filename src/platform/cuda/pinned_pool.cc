#include "platform/cuda/pinned_pool.h"

#include <algorithm>
#include <bit>

namespace quire {

Result<std::shared_ptr<std::byte>> PinnedPool::Take(size_t bytes) {
  constexpr size_t kLeastBytes = 4096;
  Buffer buffer;
  {
    const std::lock_guard lock(free_->mutex);
    const auto fits = [&](const Buffer& b) { return b.bytes() >= bytes; };
    const auto found = std::find_if(free_->buffers.begin(), free_->buffers.end(), fits);
    if (found != free_->buffers.end()) {
      buffer = std::move(*found);
      free_->buffers.erase(found);
    }
  }
  if (buffer.data() == nullptr) {
    QUIRE_ASSIGN_OR_RETURN(buffer,
                           device_.AllocatePinned(std::bit_ceil(std::max(bytes, kLeastBytes))));
  }
  auto* const data = static_cast<std::byte*>(buffer.data());
  auto held = std::make_shared<Buffer>(std::move(buffer));
  return std::shared_ptr<std::byte>(data, [held, list = free_](std::byte*) {
    const std::lock_guard lock(list->mutex);
    list->buffers.push_back(std::move(*held));
  });
}

}  // namespace quire
