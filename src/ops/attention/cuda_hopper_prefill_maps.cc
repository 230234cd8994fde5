#include "ops/attention/cuda_hopper_prefill_maps.h"

#include <cuda_runtime.h>

#include <array>

#include "platform/cuda/cuda_error.h"

namespace quire::ops::attention::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// From the driver that runs, so that programs start without one.
Result<Encode> FindEncode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                  cudaEnableDefault, &found),
                 "cudaGetDriverEntryPointByVersion"));
  if (found != cudaDriverEntryPointSuccess) {
    return Unsupported("the driver has no cuTensorMapEncodeTiled; use a newer one");
  }
  return reinterpret_cast<Encode>(function);
}

Status EncodeMap(Encode encode, const Problem& problem, const KvRows& rows, CUtensorMap& map) {
  const auto count = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const auto bytes = [](int64_t elements) { return static_cast<cuuint64_t>(elements) * 2; };
  const std::array<cuuint64_t, 4> sizes = {count(problem.key_dim), count(problem.page_size),
                                           count(problem.kv_heads), count(problem.num_pages)};
  const std::array<cuuint64_t, 3> strides = {bytes(rows.strides.token), bytes(rows.strides.head),
                                             bytes(rows.strides.page)};
  const std::array<cuuint32_t, 4> box = {64, static_cast<cuuint32_t>(problem.page_size), 1, 1};
  const std::array<cuuint32_t, 4> steps = {1, 1, 1, 1};
  const CUresult result =
      encode(&map,
             problem.kv_dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                             : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
             4, const_cast<void*>(rows.data), sizes.data(), strides.data(), box.data(),
             steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS
             ? OkStatus()
             : InternalError("cuTensorMapEncodeTiled failed with error ", static_cast<int>(result));
}

}  // namespace

Status MakeMaps(const Problem& problem, KvMaps& maps) {
  constexpr int32_t kMinPage = 8;  // rows after which the pattern of swizzled rows repeats
  constexpr int32_t kMaxPage = 128;
  if (problem.page_size < kMinPage || problem.page_size > kMaxPage) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(const Encode encode, FindEncode());
  QUIRE_RETURN_IF_ERROR(EncodeMap(encode, problem, problem.key, maps.key));
  QUIRE_RETURN_IF_ERROR(EncodeMap(encode, problem, problem.value, maps.value));
  maps.exist = true;
  return OkStatus();
}

}  // namespace quire::ops::attention::cuda
