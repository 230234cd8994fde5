// The fastest algorithm of cuBLASLt for a product, by measurement.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "ops/linear/cuda/cuda_blaslt_operation.h"
#include "ops/linear/cuda/cuda_matmul_trial.h"

namespace quire::ops::linear {

// It proposes 8 at most, in an order that means little. Where it may use a workspace it likes to
// cut K, also where algorithms that do not are faster; so it is asked for those without one too. A
// thorough search goes on to other clusters and options of the best: up to 8 % faster, but it takes
// a tenth of a second, mostly for loading kernels.
class AlgorithmSearch {
 public:
  // For the products of `trial`; with `whole_k` none that cuts K. The workspace has
  // `workspace_bytes` bytes. All must outlive it.
  AlgorithmSearch(const BlasLtLibrary& lt, MatmulTrial& trial, bool whole_k, void* workspace,
                  size_t workspace_bytes, cudaStream_t stream);

  // The fastest of those that `accepts`, which is asked after the product was made; none if there
  // is none. Waits for the stream.
  std::optional<cublasLtMatmulAlgo_t> Fastest(bool thorough, const std::function<bool()>& accepts);

 private:
  struct Candidate {
    cublasLtMatmulAlgo_t algorithm;
    float us;
  };

  static bool IsFaster(const Candidate& a, const Candidate& b) { return a.us < b.us; }

  // Times `algorithm` if it is new, and keeps candidates_ in order.
  void Try(const cublasLtMatmulAlgo_t& algorithm);
  void TryProposals(int64_t rows, size_t workspace_bytes);
  // Tries the best with each of `values` for `attribute`.
  template <typename T, size_t kCount>
  void TryVariants(cublasLtMatmulAlgoConfigAttributes_t attribute, const T (&values)[kCount]);
  // Times all once more.
  void TimeAgain();
  float Time(const cublasLtMatmulAlgo_t& algorithm);

  const BlasLtLibrary& lt_;
  MatmulTrial& trial_;
  bool whole_k_;
  void* workspace_;
  size_t workspace_bytes_;
  cudaStream_t stream_;
  BlasLtOperation operation_;
  std::vector<Candidate> candidates_;  // the fastest first
};

}  // namespace quire::ops::linear
