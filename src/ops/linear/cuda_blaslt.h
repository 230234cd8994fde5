// cuBLASLt, opened when it is first needed, so that a program starts without it, and the choice of
// its algorithms by measurement.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "base/status.h"
#include "ops/linear/cuda_matmul.h"

namespace quire::ops::linear {

// The functions of the library that are used.
struct BlasLtFunctions {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusName) status_name;
  decltype(&cublasLtMatmul) matmul;
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

// The library with its algorithms for one device. Thread-safe.
class BlasLt {
 public:
  // Scratch memory that Multiply() wants.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // Opens it for the calling thread's device. Errors: unavailable (no libcublasLt.so.13, or one
  // that lacks a function).
  static Result<std::unique_ptr<BlasLt>> Open();
  ~BlasLt();
  BlasLt(const BlasLt&) = delete;
  BlasLt& operator=(const BlasLt&) = delete;

  // Enqueues `matmul`. The first of its kind (types, extents, the power of two above m) measures
  // the algorithms that the library proposes, which waits for the device; while the stream is being
  // captured the first proposal is taken instead, and measured later. An algorithm may cut K in a
  // way that depends on m, so that the bits of a row may depend on how many rows there are; not so
  // with matmul.chain, for which an algorithm is taken only if it was seen to give the bits of
  // RunChain(), and else that.
  Status Multiply(const Matmul& matmul, void* workspace, cudaStream_t stream);

 private:
  // Types, bucket of m, n, k, strides of x, w and out, accumulate, chain.
  using Key =
      std::tuple<DType, DType, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, bool>;
  using Choice = std::optional<cublasLtMatmulAlgo_t>;  // none: RunChain()
  class Operation;

  BlasLt(void* library, const BlasLtFunctions& functions) : library_(library), lt_(functions) {}

  Status StatusOf(cublasStatus_t status, const char* call) const;
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
  std::map<Key, Choice> chosen_;  // guarded by mutex_
};

}  // namespace quire::ops::linear
