// A product as cuBLASLt describes it, with the library's functions.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <vector>

#include "ops/linear/cuda/cuda_matmul.h"

namespace quire::ops::linear {

// The library's functions that are used, and its handle for a device.
struct BlasLtLibrary {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetStatusName) status_name = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoCheck) check_algorithm = nullptr;
  decltype(&cublasLtMatmulAlgoConfigSetAttribute) set_algorithm = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_operation = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;

  cublasLtHandle_t handle = nullptr;
};

// A matmul's descriptors. The library knows columns: there W^T is the first operand, x the second,
// and out their product, all as they lie here. The library must outlive it.
class BlasLtOperation {
 public:
  BlasLtOperation(const BlasLtLibrary& lt, const Matmul& matmul);
  ~BlasLtOperation();
  BlasLtOperation(const BlasLtOperation&) = delete;
  BlasLtOperation& operator=(const BlasLtOperation&) = delete;

  // Of making it.
  cublasStatus_t status() const { return status_; }

  // Enqueues `matmul`, which differs from the constructor's in the addresses of matrices and in
  // accumulate at most.
  cublasStatus_t Run(const Matmul& matmul, const cublasLtMatmulAlgo_t& algorithm, void* workspace,
                     size_t workspace_bytes, cudaStream_t stream) const;

  // Whether the library takes `algorithm` for this, with so much workspace.
  bool Takes(const cublasLtMatmulAlgo_t& algorithm, size_t workspace_bytes) const;

  // The library's proposals (it makes up to 8), best first; with `whole_k` none that cuts K.
  std::vector<cublasLtMatmulAlgo_t> Proposals(size_t workspace_bytes, bool whole_k) const;

 private:
  void Keep(cublasStatus_t status) {
    status_ = status_ == CUBLAS_STATUS_SUCCESS ? status : status_;
  }

  const BlasLtLibrary& lt_;
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr;
  cublasLtMatrixLayout_t x_ = nullptr;
  cublasLtMatrixLayout_t out_ = nullptr;
};

}  // namespace quire::ops::linear
