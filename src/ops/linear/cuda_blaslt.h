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
#include <vector>

#include "base/choice_file.h"
#include "base/status.h"
#include "ops/linear/cuda_matmul.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::linear {

// The functions of the library that are used.
struct BlasLtFunctions {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusName) status_name;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoCheck) check_algorithm;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic;
  decltype(&cublasLtMatmulDescCreate) create_operation;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation;
  decltype(&cublasLtMatrixLayoutCreate) create_layout;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;
};

// Products that run by the same algorithm.
struct MatmulKind {
  DType in;
  DType out;
  int64_t bucket;  // of m: the power of two above
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
  static Result<std::unique_ptr<BlasLt>> Open(const CudaDevice& device);
  ~BlasLt();
  BlasLt(const BlasLt&) = delete;
  BlasLt& operator=(const BlasLt&) = delete;

  // Enqueues `matmul`. The first of its kind (types, extents, the power of two above m), unless a
  // process before this one did so, measures the algorithms that the library proposes, which waits
  // for the device; while the stream is being captured the first proposal is taken instead, and
  // measured later. An algorithm may cut K in a
  // way that depends on m, so that the bits of a row may depend on how many rows there are; not so
  // with matmul.chain, for which an algorithm is taken only if it was seen to give the bits of
  // RunChain(), and else that.
  Status Multiply(const Matmul& matmul, void* workspace, cudaStream_t stream);

 private:
  using Choice = std::optional<cublasLtMatmulAlgo_t>;  // none: RunChain()
  class Operation;

  BlasLt(void* library, const BlasLtFunctions& functions) : library_(library), lt_(functions) {}

  Status StatusOf(cublasStatus_t status, const char* call) const;
  // The choice that a process before this one made, if the library still takes it.
  std::optional<Choice> Stored(const Operation& operation, const MatmulKind& kind) const;
  Status Run(const Operation& operation, const Matmul& matmul, const Choice& choice,
             void* workspace, cudaStream_t stream) const;
  // `best` becomes the candidate that takes the least time, of those that do what is asked; without
  // one it stays. Waits for the device.
  Status TakeFastest(const Operation& operation, const Matmul& matmul,
                     const std::vector<cublasLtMatmulHeuristicResult_t>& candidates,
                     void* workspace, cudaStream_t stream, Choice& best) const;

  void* library_;
  BlasLtFunctions lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<MatmulKind, Choice> chosen_;  // guarded by mutex_
  // Guarded by mutex_. Of a chain it has only what was seen to be one.
  ChoiceFile file_;
};

}  // namespace quire::ops::linear
