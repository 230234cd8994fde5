#include "ops/linear/cuda/cuda_blaslt_operation.h"

namespace quire::ops::linear {

namespace {

constexpr int kMostProposals = 8;
constexpr uint32_t kAlignment = 16;  // of addresses and rows, in bytes

cudaDataType_t TypeOf(DType type) {
  switch (type) {
    case DType::kF16: return CUDA_R_16F;
    case DType::kBF16: return CUDA_R_16BF;
    case DType::kF8E4M3: return CUDA_R_8F_E4M3;
    default: return CUDA_R_32F;
  }
}

}  // namespace

BlasLtOperation::BlasLtOperation(const BlasLtLibrary& lt, const Matmul& matmul) : lt_(lt) {
  const cudaDataType_t in = TypeOf(matmul.in);
  Keep(lt.create_operation(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
    Keep(lt.set_operation(operation_, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (matmul.in == DType::kF8E4M3) {
    set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, matmul.w_scales);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, matmul.x_scales);
  }
  Keep(lt.create_layout(&w_, in, static_cast<uint64_t>(matmul.k), static_cast<uint64_t>(matmul.n),
                        matmul.w_stride));
  Keep(lt.create_layout(&x_, in, static_cast<uint64_t>(matmul.k), static_cast<uint64_t>(matmul.m),
                        matmul.x_stride));
  Keep(lt.create_layout(&out_, TypeOf(matmul.out), static_cast<uint64_t>(matmul.n),
                        static_cast<uint64_t>(matmul.m), matmul.result_stride));
}

BlasLtOperation::~BlasLtOperation() {
  for (const cublasLtMatrixLayout_t layout : {w_, x_, out_}) {
    if (layout != nullptr) {
      lt_.destroy_layout(layout);
    }
  }
  if (operation_ != nullptr) {
    lt_.destroy_operation(operation_);
  }
}

cublasStatus_t BlasLtOperation::Run(const Matmul& matmul, const cublasLtMatmulAlgo_t& algorithm,
                                    void* workspace, size_t workspace_bytes,
                                    cudaStream_t stream) const {
  const float alpha = 1.0f;
  const float beta = matmul.accumulate ? 1.0f : 0.0f;
  return lt_.matmul(lt_.handle, operation_, &alpha, matmul.w, w_, matmul.x, x_, &beta,
                    matmul.result, out_, matmul.result, out_, &algorithm, workspace,
                    workspace_bytes, stream);
}

bool BlasLtOperation::Takes(const cublasLtMatmulAlgo_t& algorithm, size_t workspace_bytes) const {
  cublasLtMatmulHeuristicResult_t found;
  return lt_.check_algorithm(lt_.handle, operation_, w_, x_, out_, out_, &algorithm, &found) ==
             CUBLAS_STATUS_SUCCESS &&
         found.workspaceSize <= workspace_bytes;
}

std::vector<cublasLtMatmulAlgo_t> BlasLtOperation::Proposals(size_t workspace_bytes,
                                                             bool whole_k) const {
  cublasLtMatmulPreference_t preference = nullptr;
  if (lt_.create_preference(&preference) != CUBLAS_STATUS_SUCCESS) {
    return {};
  }
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    lt_.set_preference(preference, attribute, &value, sizeof(value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_bytes});
  if (whole_k) {
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  }
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(attribute, kAlignment);
  }
  cublasLtMatmulHeuristicResult_t results[kMostProposals];
  int count = 0;
  lt_.get_heuristic(lt_.handle, operation_, w_, x_, out_, out_, preference, kMostProposals, results,
                    &count);
  lt_.destroy_preference(preference);
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < count; ++i) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) {
      algorithms.push_back(results[i].algo);
    }
  }
  return algorithms;
}

}  // namespace quire::ops::linear
