#include "attention/paged/cuda_step_memory.h"

#include <algorithm>

namespace quire {

Status Reserve(Device& device, size_t bytes, Buffer& buffer) {
  if (buffer.bytes() < bytes) {
    buffer = Buffer();
    QUIRE_ASSIGN_OR_RETURN(buffer, device.Allocate(bytes));
  }
  return OkStatus();
}

Result<std::byte*> CudaStepMemory::Begin(Stream& stream, size_t bytes) {
  turn_ = 1 - turn_;
  Staging& staging = staging_[turn_];
  if (staging.sent != nullptr) {
    QUIRE_RETURN_IF_ERROR(staging.sent->Wait());
    staging.sent.reset();
  }
  // Room for steps to grow.
  const size_t room = std::max(2 * bytes, size_t{1} << 20);
  if (staging.memory.bytes() < bytes) {
    staging.memory = Buffer();
    QUIRE_ASSIGN_OR_RETURN(staging.memory, stream.device().AllocatePinned(room));
  }
  if (device_.bytes() < bytes) {
    QUIRE_RETURN_IF_ERROR(Reserve(stream.device(), room, device_));
  }
  return static_cast<std::byte*>(staging.memory.data());
}

Status CudaStepMemory::Send(Stream& stream, size_t bytes) {
  QUIRE_RETURN_IF_ERROR(stream.Copy(device_.data(), stream.device().place(),
                                    staging_[turn_].memory.data(), Place::Host(), bytes));
  return Sent(stream);
}

Status CudaStepMemory::Sent(Stream& stream) {
  QUIRE_ASSIGN_OR_RETURN(staging_[turn_].sent, stream.Record());
  return OkStatus();
}

}  // namespace quire
