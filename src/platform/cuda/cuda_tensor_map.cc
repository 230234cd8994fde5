#include "platform/cuda/cuda_tensor_map.h"

#include <cuda_runtime.h>

#include <array>

#include "base/check.h"
#include "platform/cuda/cuda_error.h"

namespace quire {

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

}  // namespace

Result<CUtensorMap> MapOf(const void* data, CUtensorMapDataType type,
                          std::span<const MapAxis> axes) {
  constexpr size_t kMaxAxes = 5;
  QUIRE_CHECK(axes.size() >= 2 && axes.size() <= kMaxAxes);
  static const Result<Encode> encode = FindEncode();  // once: each layer's launches make maps
  QUIRE_RETURN_IF_ERROR(encode.status());
  std::array<cuuint64_t, kMaxAxes> sizes;
  std::array<cuuint64_t, kMaxAxes> strides;  // of all axes but the first
  std::array<cuuint32_t, kMaxAxes> box;
  std::array<cuuint32_t, kMaxAxes> steps;
  for (size_t i = 0; i < axes.size(); ++i) {
    sizes[i] = static_cast<cuuint64_t>(axes[i].size);
    strides[i == 0 ? kMaxAxes - 1 : i - 1] = static_cast<cuuint64_t>(axes[i].stride_bytes);
    box[i] = static_cast<cuuint32_t>(axes[i].box);
    steps[i] = 1;
  }
  CUtensorMap map;
  const CUresult result =
      (*encode)(&map, type, static_cast<cuuint32_t>(axes.size()), const_cast<void*>(data),
                sizes.data(), strides.data(), box.data(), steps.data(),
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return InternalError("cuTensorMapEncodeTiled failed with error ", static_cast<int>(result));
  }
  return map;
}

Result<CUtensorMap> MapOfBytes(const ByteRows& rows) {
  const std::array<MapAxis, 2> axes = {{{.size = rows.row_bytes, .box = rows.box_bytes},
                                        {rows.rows, rows.row_bytes, rows.box_rows}}};
  return MapOf(rows.data, CU_TENSOR_MAP_DATA_TYPE_UINT8, axes);
}

}  // namespace quire
