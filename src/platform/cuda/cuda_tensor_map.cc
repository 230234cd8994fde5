#include "platform/cuda/cuda_tensor_map.h"

#include <cuda_runtime.h>

#include <array>

#include "platform/cuda/cuda_error.h"

namespace quire {

Result<decltype(&cuTensorMapEncodeTiled)> FindTensorMapEncode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                  cudaEnableDefault, &found),
                 "cudaGetDriverEntryPointByVersion"));
  if (found != cudaDriverEntryPointSuccess) {
    return Unsupported("the driver has no cuTensorMapEncodeTiled; use a newer one");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

Result<CUtensorMap> MapOfBytes(const ByteRows& rows) {
  QUIRE_ASSIGN_OR_RETURN(const auto encode, FindTensorMapEncode());
  const std::array<cuuint64_t, 2> sizes = {static_cast<cuuint64_t>(rows.row_bytes),
                                           static_cast<cuuint64_t>(rows.rows)};
  const std::array<cuuint64_t, 1> strides = {static_cast<cuuint64_t>(rows.row_bytes)};
  const std::array<cuuint32_t, 2> box = {static_cast<cuuint32_t>(rows.box_bytes),
                                         static_cast<cuuint32_t>(rows.box_rows)};
  const std::array<cuuint32_t, 2> steps = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(rows.data), sizes.data(),
             strides.data(), box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return InternalError("cuTensorMapEncodeTiled failed with error ", static_cast<int>(result));
  }
  return map;
}

}  // namespace quire
