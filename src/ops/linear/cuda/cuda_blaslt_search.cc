#include "ops/linear/cuda/cuda_blaslt_search.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace quire::ops::linear {

namespace {

constexpr size_t kVaried = 3;
constexpr size_t kFinalists = 6;
constexpr int kTurns = 3;
constexpr int64_t kChainRows = 128;  // for fewer, algorithms that do not cut K are rare
constexpr uint16_t kClusterShapes[] = {CUBLASLT_CLUSTER_SHAPE_1x1x1, CUBLASLT_CLUSTER_SHAPE_2x1x1,
                                       CUBLASLT_CLUSTER_SHAPE_4x1x1, CUBLASLT_CLUSTER_SHAPE_1x2x1,
                                       CUBLASLT_CLUSTER_SHAPE_2x2x1, CUBLASLT_CLUSTER_SHAPE_4x2x1,
                                       CUBLASLT_CLUSTER_SHAPE_1x4x1, CUBLASLT_CLUSTER_SHAPE_2x4x1};
constexpr uint32_t kCustomOptions[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

}  // namespace

AlgorithmSearch::AlgorithmSearch(const BlasLtLibrary& lt, MatmulTrial& trial, bool whole_k,
                                 void* workspace, size_t workspace_bytes, cudaStream_t stream)
    : lt_(lt),
      trial_(trial),
      whole_k_(whole_k),
      workspace_(workspace),
      workspace_bytes_(workspace_bytes),
      stream_(stream),
      operation_(lt, trial.matmul()) {}

std::optional<cublasLtMatmulAlgo_t> AlgorithmSearch::Fastest(bool thorough,
                                                             const std::function<bool()>& accepts) {
  const int64_t m = trial_.matmul().m;
  TryProposals(m, workspace_bytes_);
  TryProposals(m, 0);
  if (whole_k_ && m < kChainRows) {
    TryProposals(kChainRows, workspace_bytes_);
  }
  TimeAgain();  // the first may have found a device that had been idle, with slow clocks
  if (thorough) {
    TryVariants(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, kClusterShapes);
    TryVariants(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, kCustomOptions);
    TryVariants(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, kClusterShapes);
  }
  std::vector<Candidate> finalists;
  for (size_t i = 0; i < candidates_.size() && finalists.size() < kFinalists; ++i) {
    if (std::isfinite(Time(candidates_[i].algorithm)) && accepts()) {
      finalists.push_back(candidates_[i]);
    }
  }
  candidates_ = finalists;
  for (int turn = 0; turn < kTurns; ++turn) {
    TimeAgain();
  }
  return candidates_.empty() ? std::nullopt : std::optional(candidates_[0].algorithm);
}

void AlgorithmSearch::Try(const cublasLtMatmulAlgo_t& algorithm) {
  const auto is_same = [&](const Candidate& candidate) {
    return std::memcmp(&candidate.algorithm, &algorithm, sizeof(algorithm)) == 0;
  };
  if (std::any_of(candidates_.begin(), candidates_.end(), is_same) ||
      !operation_.Takes(algorithm, workspace_bytes_)) {
    return;
  }
  const Candidate candidate = {algorithm, Time(algorithm)};
  candidates_.insert(std::upper_bound(candidates_.begin(), candidates_.end(), candidate, IsFaster),
                     candidate);
}

void AlgorithmSearch::TryProposals(int64_t rows, size_t workspace_bytes) {
  Matmul matmul = trial_.matmul();
  matmul.m = rows;
  const BlasLtOperation operation(lt_, matmul);
  for (const cublasLtMatmulAlgo_t& algorithm : operation.Proposals(workspace_bytes, whole_k_)) {
    Try(algorithm);
  }
}

template <typename T, size_t kCount>
void AlgorithmSearch::TryVariants(cublasLtMatmulAlgoConfigAttributes_t attribute,
                                  const T (&values)[kCount]) {
  const size_t count = std::min(kVaried, candidates_.size());
  const std::vector<Candidate> best(candidates_.begin(),
                                    candidates_.begin() + static_cast<int64_t>(count));
  for (Candidate candidate : best) {
    for (const T value : values) {
      lt_.set_algorithm(&candidate.algorithm, attribute, &value, sizeof(value));
      Try(candidate.algorithm);
    }
  }
}

void AlgorithmSearch::TimeAgain() {
  for (Candidate& candidate : candidates_) {
    candidate.us = std::min(candidate.us, Time(candidate.algorithm));
  }
  std::sort(candidates_.begin(), candidates_.end(), IsFaster);
}

float AlgorithmSearch::Time(const cublasLtMatmulAlgo_t& algorithm) {
  return trial_.Time([&](const Matmul& matmul) {
    return operation_.Run(matmul, algorithm, workspace_, workspace_bytes_, stream_) ==
           CUBLAS_STATUS_SUCCESS;
  });
}

}  // namespace quire::ops::linear
