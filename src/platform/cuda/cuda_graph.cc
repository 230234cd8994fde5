// Captured work of a CudaStream, as a CUDA graph.
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire {

namespace {

class CudaGraph final : public Graph {
 public:
  explicit CudaGraph(cudaGraphExec_t handle) : handle_(handle) {}
  ~CudaGraph() override { cudaGraphExecDestroy(handle_); }

  Status Launch(Stream& stream) override {
    return CudaStatus(cudaGraphLaunch(handle_, AsCudaStream(stream).handle()), "cudaGraphLaunch");
  }

 private:
  cudaGraphExec_t handle_;
};

}  // namespace

Status CudaStream::BeginCapture() {
  QUIRE_RETURN_IF_ERROR(device_.MakeCurrent());
  return CudaStatus(cudaStreamBeginCapture(handle_, cudaStreamCaptureModeThreadLocal),
                    "cudaStreamBeginCapture");
}

Result<std::unique_ptr<Graph>> CudaStream::EndCapture() {
  cudaGraph_t captured = nullptr;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaStreamEndCapture(handle_, &captured), "cudaStreamEndCapture"));
  cudaGraphExec_t handle = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&handle, captured, 0);
  cudaGraphDestroy(captured);
  QUIRE_RETURN_IF_ERROR(CudaStatus(error, "cudaGraphInstantiate"));
  return std::unique_ptr<Graph>(std::make_unique<CudaGraph>(handle));
}

}  // namespace quire
