// The CUDA platform: one GPU, its memory, its streams.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <typeindex>
#include <utility>

#include "platform/cuda/pinned_pool.h"
#include "platform/device.h"

#ifndef QUIRE_GPU_PLATFORM  // a platform that renames this one's runtime says its own
#define QUIRE_GPU_PLATFORM kCuda
#endif

namespace quire {

inline constexpr PlatformKind kGpuPlatform = PlatformKind::QUIRE_GPU_PLATFORM;

class CudaDevice final : public Device {
 public:
  // GPU `index` of this machine. Errors: unavailable (no driver, one too old, no GPU at all),
  // not_found (fewer GPUs), unsupported (this build has no kernels for it).
  static Result<std::unique_ptr<CudaDevice>> Create(int index, std::string cache_folder = {});

  Place place() const override { return {kGpuPlatform, index_}; }
  const DeviceProperties& properties() const override { return properties_; }
  bool is_asynchronous() const override { return true; }
  // Freeing waits until the device has done all that was enqueued.
  Result<Buffer> Allocate(size_t bytes) override;
  // Kernels of every GPU can read and write it at the same address.
  Result<Buffer> AllocatePinned(size_t bytes) override;
  Result<size_t> AvailableMemory() const override;
  Result<std::unique_ptr<Stream>> CreateStream() override;

  PinnedPool& pinned_pool() { return pinned_pool_; }
  const std::string& cache_folder() const { return cache_folder_; }  // of DeviceOptions

  // The device's one T, made by T::Open(*this) on the first call and kept as long as the device:
  // what a library needs to be opened for. Errors: those of T::Open().
  template <typename T>
  Result<T*> Library() {
    QUIRE_RETURN_IF_ERROR(MakeCurrent());
    const std::lock_guard lock(libraries_mutex_);
    std::shared_ptr<void>& library = libraries_[typeid(T)];
    if (library == nullptr) {
      QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<T> opened, T::Open(*this));
      library = std::move(opened);
    }
    return static_cast<T*>(library.get());
  }

  // Makes it the calling thread's device, which launches and allocations go to.
  Status MakeCurrent() const;

 private:
  CudaDevice(int index, std::string cache_folder)
      : index_(index), cache_folder_(std::move(cache_folder)) {}

  int index_;
  std::string cache_folder_;
  DeviceProperties properties_;
  PinnedPool pinned_pool_{*this};
  std::mutex libraries_mutex_;
  std::map<std::type_index, std::shared_ptr<void>> libraries_;  // guarded by libraries_mutex_
};

// Does not wait for the default stream.
class CudaStream final : public Stream {
 public:
  CudaStream(CudaDevice& device, cudaStream_t handle) : device_(device), handle_(handle) {}
  ~CudaStream() override;

  CudaDevice& device() const override { return device_; }
  Status Copy(void* to, Place to_place, const void* from, Place from_place, size_t bytes) override;
  // A graph of the runtime. Allocations during the recording are made at once, not recorded.
  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& enqueue) override;
  Result<std::unique_ptr<Event>> Record() override;
  Status Synchronize() override;

  cudaStream_t handle() const { return handle_; }

 private:
  CudaDevice& device_;
  cudaStream_t handle_;
};

// `stream` as a CudaStream, its device made the calling thread's: before launches. REQUIRES: it is
// one.
CudaStream& AsCudaStream(Stream& stream);

}  // namespace quire
