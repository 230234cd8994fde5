#include "ops/attention/hopper_prefill/cuda_hopper_prefill_maps.h"

#include <algorithm>
#include <array>

#include "platform/cuda/cuda_tensor_map.h"

namespace quire::ops::attention::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// How many of what a map covers, and elements between them, but for the elements of a row.
struct Extents {
  std::array<int64_t, 3> sizes;
  std::array<int64_t, 3> strides;
  int box_rows;
};

Extents PageExtents(const Problem& problem) {
  const PageStrides& strides = problem.key.strides;
  return {{problem.page_size, problem.kv_heads, problem.num_pages},
          {strides.token, strides.head, strides.page},
          problem.page_size};
}

Extents RunExtents(const Problem& problem) {
  const PageStrides& strides = problem.key.strides;
  const int64_t row = strides.page / problem.page_size;
  return {{problem.num_pages * problem.page_size, problem.kv_heads, 1},
          {row, strides.head, row},
          kRunRows};
}

KvBoxes BoxesOf(const Problem& problem) {
  constexpr int32_t kMaxPage = 128;
  if (problem.page_size >= kMinMappedPage) {
    return problem.page_size <= kMaxPage ? KvBoxes::kPages : KvBoxes::kNone;
  }
  const PageStrides& strides = problem.key.strides;
  const bool pages_continue =
      problem.page_size == 1 || strides.page == problem.page_size * strides.token;
  return pages_continue && problem.num_pages * problem.page_size >= kRunRows ? KvBoxes::kRuns
                                                                             : KvBoxes::kNone;
}

Status EncodeMap(Encode encode, const Problem& problem, const void* data, const Extents& extents,
                 CUtensorMap& map) {
  const auto count = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const auto bytes = [](int64_t elements) { return static_cast<cuuint64_t>(elements) * 2; };
  const auto& [sizes_of, strides_of, box_rows] = extents;
  const std::array<cuuint64_t, 4> sizes = {count(problem.key_dim), count(sizes_of[0]),
                                           count(sizes_of[1]), count(sizes_of[2])};
  const std::array<cuuint64_t, 3> strides = {bytes(strides_of[0]), bytes(strides_of[1]),
                                             bytes(strides_of[2])};
  const std::array<cuuint32_t, 4> box = {64, static_cast<cuuint32_t>(box_rows), 1, 1};
  const std::array<cuuint32_t, 4> steps = {1, 1, 1, 1};
  const CUresult result =
      encode(&map,
             problem.kv_dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                             : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
             4, const_cast<void*>(data), sizes.data(), strides.data(), box.data(), steps.data(),
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS
             ? OkStatus()
             : InternalError("cuTensorMapEncodeTiled failed with error ", static_cast<int>(result));
}

}  // namespace

Status MakeMaps(const Problem& problem, KvMaps& maps) {
  const KvBoxes boxes = BoxesOf(problem);
  if (boxes == KvBoxes::kNone) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(const Encode encode, FindTensorMapEncode());
  const Extents extents = boxes == KvBoxes::kPages ? PageExtents(problem) : RunExtents(problem);
  QUIRE_RETURN_IF_ERROR(EncodeMap(encode, problem, problem.key.data, extents, maps.key));
  QUIRE_RETURN_IF_ERROR(EncodeMap(encode, problem, problem.value.data, extents, maps.value));
  maps.boxes = boxes;
  return OkStatus();
}

Status MakeMap(const Problem& problem, int32_t box, LatentMap& map) {
  if (problem.page_size < kMinMappedPage) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(const Encode encode, FindTensorMapEncode());
  const auto count = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const PageStrides& from = problem.key.strides;
  const std::array<cuuint64_t, 3> sizes = {count(problem.key_dim), count(problem.page_size),
                                           count(problem.num_pages)};
  const std::array<cuuint64_t, 2> strides = {count(from.token * 2), count(from.page * 2)};
  const std::array<cuuint32_t, 3> sides = {
      64, static_cast<cuuint32_t>(std::min(problem.page_size, box)), 1};
  const std::array<cuuint32_t, 3> steps = {1, 1, 1};
  const CUresult result =
      encode(&map.map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(problem.key.data),
             sizes.data(), strides.data(), sides.data(), steps.data(),
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return InternalError("cuTensorMapEncodeTiled failed with error ", static_cast<int>(result));
  }
  map.exists = true;
  return OkStatus();
}

}  // namespace quire::ops::attention::cuda
