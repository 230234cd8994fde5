#include "platform/cuda/cuda_device.h"

#include <algorithm>

#include "platform/cuda/cuda_error.h"
#include "platform/open_device.h"

namespace quire {

namespace {

class CudaEvent final : public Event {
 public:
  CudaEvent(Device& device, cudaEvent_t handle) : device_(device), handle_(handle) {}
  ~CudaEvent() override { cudaEventDestroy(handle_); }

  Status Wait() override {
    const cudaError_t state = cudaEventQuery(handle_);
    if (state != cudaErrorNotReady) {
      return CudaStatus(state, "cudaEventQuery");
    }
    cudaGetLastError();  // it would be reported again by the next launch
    device_.CountWait();
    return CudaStatus(cudaEventSynchronize(handle_), "cudaEventSynchronize");
  }

 private:
  Device& device_;
  cudaEvent_t handle_;
};

class CudaGraph final : public Graph {
 public:
  explicit CudaGraph(cudaGraphExec_t handle) : handle_(handle) {}
  ~CudaGraph() override { cudaGraphExecDestroy(handle_); }

  Status Replay(Stream& stream) override {
    return CudaStatus(cudaGraphLaunch(handle_, AsCudaStream(stream).handle()), "cudaGraphLaunch");
  }

 private:
  cudaGraphExec_t handle_;
};

Result<int> CountDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice) {
    cudaGetLastError();  // it would be reported again by the next launch
    int driver = 0;
    int runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    QUIRE_RETURN_IF_ERROR(CheckDriver(driver, runtime));
    return Unavailable(PlatformName(kGpuPlatform), ": the driver sees no GPU");
  }
  QUIRE_RETURN_IF_ERROR(CudaStatus(error, "cudaGetDeviceCount"));
  return count;
}

bool IsPinned(const void* data) {
  cudaPointerAttributes attributes = {};
  if (cudaPointerGetAttributes(&attributes, data) != cudaSuccess) {
    cudaGetLastError();  // it would be reported again by the next launch
    return false;
  }
  return attributes.type == cudaMemoryTypeHost;
}

Status OutOfMemory(cudaError_t error, size_t bytes, std::string_view call, std::string_view where) {
  cudaGetLastError();  // it would be reported again by the next launch
  return CudaStatus(error, call)
      .WithContext(StrCat("cannot allocate ", bytes, " bytes of ", where));
}

}  // namespace

Result<std::unique_ptr<Device>> OpenCudaDevice(int index, const DeviceOptions& options) {
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<CudaDevice> device,
                         CudaDevice::Create(index, options.cache_folder));
  return std::unique_ptr<Device>(std::move(device));
}

Result<std::unique_ptr<CudaDevice>> CudaDevice::Create(int index, std::string cache_folder) {
  QUIRE_ASSIGN_OR_RETURN(const int count, CountDevices());
  if (index < 0 || index >= count) {
    return NotFound("device ", PlaceName({kGpuPlatform, index}),
                    " does not exist; this machine has ", count, " GPU", count == 1 ? "" : "s");
  }
  cudaDeviceProp found;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaGetDeviceProperties(&found, index), "cudaGetDeviceProperties"));
  QUIRE_RETURN_IF_ERROR(
      CheckCapability(StrCat(PlaceName({kGpuPlatform, index}), " (", found.name, ")"), found.major,
                      found.minor, QUIRE_CUDA_ARCHITECTURES));
  std::unique_ptr<CudaDevice> device(new CudaDevice(index, std::move(cache_folder)));
  device->properties_ = {.name = found.name,
                         .instruction_set = StrCat("sm_", found.major, found.minor),
                         .compute_units = found.multiProcessorCount,
                         .total_memory = found.totalGlobalMem};
  QUIRE_RETURN_IF_ERROR(device->MakeCurrent());
  return device;
}

Status CudaDevice::MakeCurrent() const {
  return CudaStatus(cudaSetDevice(index_), "cudaSetDevice");
}

Result<Buffer> CudaDevice::Allocate(size_t bytes) {
  QUIRE_RETURN_IF_ERROR(MakeCurrent());
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, std::max<size_t>(bytes, 1));
  if (error != cudaSuccess) {
    return OutOfMemory(error, bytes, "cudaMalloc", PlaceName(place()));
  }
  return Buffer(data, bytes, place(), [](void* memory, size_t) { cudaFree(memory); });
}

Result<Buffer> CudaDevice::AllocatePinned(size_t bytes) {
  QUIRE_RETURN_IF_ERROR(MakeCurrent());
  void* data = nullptr;
  const cudaError_t error =
      cudaHostAlloc(&data, std::max<size_t>(bytes, 1), cudaHostAllocPortable | cudaHostAllocMapped);
  if (error != cudaSuccess) {
    return OutOfMemory(error, bytes, "cudaHostAlloc", "pinned host memory");
  }
  return Buffer(data, bytes, Place::Host(), [](void* memory, size_t) { cudaFreeHost(memory); });
}

Result<size_t> CudaDevice::AvailableMemory() const {
  QUIRE_RETURN_IF_ERROR(MakeCurrent());
  size_t available = 0;
  size_t total = 0;
  QUIRE_RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&available, &total), "cudaMemGetInfo"));
  return available;
}

Result<std::unique_ptr<Stream>> CudaDevice::CreateStream() {
  QUIRE_RETURN_IF_ERROR(MakeCurrent());
  cudaStream_t handle = nullptr;
  QUIRE_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking),
                                   "cudaStreamCreateWithFlags"));
  return std::unique_ptr<Stream>(std::make_unique<CudaStream>(*this, handle));
}

CudaStream::~CudaStream() {
  cudaStreamDestroy(handle_);
}

Status CudaStream::Copy(void* to, Place to_place, const void* from, Place from_place,
                        size_t bytes) {
  for (const Place place : {to_place, from_place}) {
    QUIRE_CHECK(place.IsHost() || place == device_.place())
        << PlaceName(place) << " on a stream of " << PlaceName(device_.place());
  }
  if (bytes == 0) {
    return OkStatus();
  }
  if ((to_place.IsHost() && !IsPinned(to)) || (from_place.IsHost() && !IsPinned(from))) {
    device_.CountWait();
  }
  const cudaMemcpyKind kind =
      to_place.IsHost() ? (from_place.IsHost() ? cudaMemcpyHostToHost : cudaMemcpyDeviceToHost)
                        : (from_place.IsHost() ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToDevice);
  return CudaStatus(cudaMemcpyAsync(to, from, bytes, kind, handle_), "cudaMemcpyAsync");
}

Result<std::unique_ptr<Graph>> CudaStream::Capture(const std::function<Status()>& enqueue) {
  QUIRE_RETURN_IF_ERROR(device_.MakeCurrent());
  // Relaxed: a workspace may still grow, and other threads go on as they do.
  QUIRE_RETURN_IF_ERROR(CudaStatus(cudaStreamBeginCapture(handle_, cudaStreamCaptureModeRelaxed),
                                   "cudaStreamBeginCapture"));
  const Status enqueued = enqueue();
  cudaGraph_t recorded = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(handle_, &recorded);
  cudaGraphExec_t handle = nullptr;
  const cudaError_t made =
      ended == cudaSuccess ? cudaGraphInstantiate(&handle, recorded, 0) : cudaSuccess;
  if (recorded != nullptr) {
    cudaGraphDestroy(recorded);
  }
  std::unique_ptr<Graph> graph;
  if (handle != nullptr) {
    graph = std::make_unique<CudaGraph>(handle);
  }
  QUIRE_RETURN_IF_ERROR(enqueued);
  QUIRE_RETURN_IF_ERROR(CudaStatus(ended, "cudaStreamEndCapture"));
  QUIRE_RETURN_IF_ERROR(CudaStatus(made, "cudaGraphInstantiate"));
  return graph;
}

Result<std::unique_ptr<Event>> CudaStream::Record() {
  QUIRE_RETURN_IF_ERROR(device_.MakeCurrent());
  cudaEvent_t handle = nullptr;
  QUIRE_RETURN_IF_ERROR(CudaStatus(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming),
                                   "cudaEventCreateWithFlags"));
  auto event = std::make_unique<CudaEvent>(device_, handle);
  QUIRE_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(handle, handle_), "cudaEventRecord"));
  return std::unique_ptr<Event>(std::move(event));
}

Status CudaStream::Synchronize() {
  device_.CountWait();
  return CudaStatus(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
}

CudaStream& AsCudaStream(Stream& stream) {
  QUIRE_CHECK(stream.device().place().platform == kGpuPlatform)
      << PlaceName(stream.device().place());
  auto& cuda = static_cast<CudaStream&>(stream);
  // A device that is lost reports it at the launch.
  static_cast<void>(cuda.device().MakeCurrent());
  return cuda;
}

}  // namespace quire
