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

namespace {

// Boxes of 64 elements of `box` rows; counts of rows and pages, and elements between them.
template <size_t kSizes>
Status EncodeLatentMap(const void* data, int64_t elements,
                       const std::array<int64_t, kSizes>& counts,
                       const std::array<int64_t, kSizes>& strides, int32_t box, LatentMap& map) {
  QUIRE_ASSIGN_OR_RETURN(const Encode encode, FindTensorMapEncode());
  std::array<cuuint64_t, kSizes + 1> sizes = {static_cast<cuuint64_t>(elements)};
  std::array<cuuint64_t, kSizes> bytes;
  std::array<cuuint32_t, kSizes + 1> sides;
  std::array<cuuint32_t, kSizes + 1> steps;
  sides.fill(1);
  steps.fill(1);
  for (size_t i = 0; i < kSizes; ++i) {
    sizes[i + 1] = static_cast<cuuint64_t>(counts[i]);
    bytes[i] = static_cast<cuuint64_t>(strides[i] * 2);
  }
  sides[0] = 64;
  sides[1] = static_cast<cuuint32_t>(box);
  const CUresult result =
      encode(&map.map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kSizes + 1, const_cast<void*>(data),
             sizes.data(), bytes.data(), sides.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return InternalError("cuTensorMapEncodeTiled failed with error ", static_cast<int>(result));
  }
  map.exists = true;
  return OkStatus();
}

}  // namespace

Status MakeMap(const Problem& problem, int32_t box, LatentMap& map) {
  if (problem.page_size < kMinMappedPage) {
    return OkStatus();
  }
  const PageStrides& from = problem.key.strides;
  return EncodeLatentMap<2>(problem.key.data, problem.key_dim,
                            {problem.page_size, problem.num_pages}, {from.token, from.page},
                            std::min(problem.page_size, box), map);
}

Status MakeQueryMap(const Problem& problem, int32_t box, LatentMap& map) {
  const HeadRows& from = problem.query;
  const bool rows_continue =
      problem.num_rows == 1 || from.row_stride == problem.q_heads * from.head_stride;
  if (!rows_continue || from.head_stride < problem.key_dim) {
    return OkStatus();
  }
  return EncodeLatentMap<1>(from.data, problem.key_dim, {problem.num_rows * problem.q_heads},
                            {from.head_stride}, box, map);
}

}  // namespace quire::ops::attention::cuda
