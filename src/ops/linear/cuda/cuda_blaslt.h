// cuBLASLt, opened when it is first needed, so that a program starts without it, and the choice of
// its algorithms by measurement.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "base/choice_file.h"
#include "base/status.h"
#include "ops/linear/cuda/cuda_blaslt_operation.h"
#include "ops/linear/cuda/cuda_matmul.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::linear {

// Products that run by the same algorithm.
struct MatmulKind {
  DType in;
  DType out;
  int64_t bucket;  // RowBucket() of m
  int64_t n;
  int64_t k;
  int64_t x_stride;
  int64_t w_stride;
  int64_t result_stride;
  bool accumulate;
  bool chain;

  auto operator<=>(const MatmulKind&) const = default;
};

// The library with its algorithms for one device. Thread-safe.
class BlasLt {
 public:
  // Scratch memory that Multiply() wants.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // Opens it for `device`, the calling thread's, whose cache folder keeps the choices. Errors:
  // unavailable (no libcublasLt.so.13, or one that lacks a function).
  static Result<std::unique_ptr<BlasLt>> Open(CudaDevice& device);
  ~BlasLt();
  BlasLt(const BlasLt&) = delete;
  BlasLt& operator=(const BlasLt&) = delete;

  // Enqueues `matmul`. The first of its kind, unless a process before this one did so, measures the
  // library's algorithms, which waits for the device and allocates on it; while the stream is being
  // captured the first proposal is taken instead, and measured later. An algorithm may cut K in a
  // way that depends on m, so that the bits of a row may depend on how many rows there are; not so
  // with matmul.chain, for which an algorithm is taken only if it was seen to give the bits of
  // RunChain(), and else that.
  Status Multiply(const Matmul& matmul, void* workspace, cudaStream_t stream);

 private:
  using Choice = std::optional<cublasLtMatmulAlgo_t>;  // none: RunChain()

  BlasLt(CudaDevice& device, void* library, const BlasLtLibrary& lt)
      : device_(device), library_(library), lt_(lt) {}

  Status StatusOf(cublasStatus_t status, const char* call) const;
  // The choice that a process before this one made, if the library still takes it.
  std::optional<Choice> Stored(const BlasLtOperation& operation, const MatmulKind& kind) const;
  // The library's own, without measuring; RunChain() for a chain. None if it has none.
  static Choice FirstProposal(const BlasLtOperation& operation, const Matmul& matmul);
  // The fastest, which is put into file_; where memory lacks for measuring, FirstProposal().
  Choice Measured(const BlasLtOperation& operation, const Matmul& matmul, void* workspace,
                  cudaStream_t stream);
  Status Run(const BlasLtOperation& operation, const Matmul& matmul, const Choice& choice,
             void* workspace, cudaStream_t stream) const;

  CudaDevice& device_;
  void* library_;
  BlasLtLibrary lt_;
  std::mutex mutex_;
  std::map<MatmulKind, Choice> chosen_;  // guarded by mutex_
  // Guarded by mutex_. Of a chain it has only what was seen to be one.
  ChoiceFile file_;
};

}  // namespace quire::ops::linear
