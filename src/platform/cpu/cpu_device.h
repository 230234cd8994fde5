// The CPU platform: host memory is device memory, a stream is a thread pool that runs at once.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "platform/cpu/host_memory.h"
#include "platform/device.h"

namespace quire {

// What the running CPU offers, as far as Quire has kernels for it. Each level includes those before
// it.
enum class CpuIsa {
  kBaseline,  // plain C++
  kAvx2,      // AVX2, FMA, F16C
  kAvx512,    // AVX-512 F/BW/DQ/VL/VNNI
};

// "baseline", "avx2", "avx512"
std::string_view CpuIsaName(CpuIsa isa);

// The best level of this machine.
CpuIsa DetectCpuIsa();

// Whether this machine has, beyond CpuIsa::kAvx512, dot products of bf16 (AVX512_BF16).
bool DetectBf16Products();

class CpuDevice final : public Device {
 public:
  // A device that uses `threads` threads, 0 meaning one per core that this process may use, and
  // kernels of at most `isa`; `pinned` as for ThreadPool. Errors: invalid_argument (threads < 0),
  // unsupported (isa above the machine's).
  static Result<std::unique_ptr<CpuDevice>> Create(int threads, CpuIsa isa = DetectCpuIsa(),
                                                   bool pinned = false);

  Place place() const override { return Place::Host(); }
  const DeviceProperties& properties() const override { return properties_; }
  bool is_asynchronous() const override { return false; }
  Result<Buffer> Allocate(size_t bytes) override;
  Result<Buffer> AllocatePinned(size_t bytes) override { return Allocate(bytes); }
  // Leaves room for others: false as well where little memory is left.
  bool Populate(void* data, size_t bytes) override;
  Result<size_t> AvailableMemory() const override;
  Result<std::unique_ptr<Stream>> CreateStream() override;

  CpuIsa isa() const { return isa_; }
  // Whether kernels may use the machine's bf16 dot products: it has them and isa() is kAvx512.
  bool has_bf16_products() const { return has_bf16_products_; }
  int threads() const { return threads_; }
  bool pinned() const { return pinned_; }

 private:
  CpuDevice(int threads, CpuIsa isa, bool pinned);

  int threads_;
  bool pinned_;
  CpuIsa isa_;
  bool has_bf16_products_;
  DeviceProperties properties_;
  HostMemory memory_;
};

// Operators on this stream run before they return, on the stream's threads.
class CpuStream final : public Stream {
 public:
  explicit CpuStream(CpuDevice& device)
      : device_(device), threads_(device.threads(), device.pinned()) {}

  Device& device() const override { return device_; }
  Status Copy(void* to, Place to_place, const void* from, Place from_place, size_t bytes) override;
  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& enqueue) override;
  Result<std::unique_ptr<Event>> Record() override;
  Status Synchronize() override {
    device_.CountWait();
    return OkStatus();
  }

  CpuIsa isa() const { return device_.isa(); }
  bool has_bf16_products() const { return device_.has_bf16_products(); }
  ThreadPool& threads() { return threads_; }

 private:
  CpuDevice& device_;
  ThreadPool threads_;
};

// `stream` as a CpuStream. REQUIRES: it is one.
CpuStream& AsCpuStream(Stream& stream);

}  // namespace quire
