#include "ops/attention/hopper_prefill/cuda_hopper_prefill_maps.h"

#include <algorithm>
#include <array>

#include "platform/cuda/cuda_tensor_map.h"

namespace quire::ops::attention::cuda {

namespace {

constexpr int kBoxElements = 64;  // of 2 bytes, as all that is mapped here

std::array<MapAxis, 4> PageAxes(const Problem& problem) {
  const PageStrides& strides = problem.key.strides;
  return {{{.size = problem.key_dim, .box = kBoxElements},
           {problem.page_size, strides.token * 2, problem.page_size},
           {problem.kv_heads, strides.head * 2},
           {problem.num_pages, strides.page * 2}}};
}

std::array<MapAxis, 4> RunAxes(const Problem& problem) {
  const PageStrides& strides = problem.key.strides;
  const int64_t row_bytes = strides.page / problem.page_size * 2;
  return {{{.size = problem.key_dim, .box = kBoxElements},
           {problem.num_pages * problem.page_size, row_bytes, kRunRows},
           {problem.kv_heads, strides.head * 2},
           {1, row_bytes}}};
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

}  // namespace

Status MakeMaps(const Problem& problem, KvMaps& maps) {
  const KvBoxes boxes = BoxesOf(problem);
  if (boxes == KvBoxes::kNone) {
    return OkStatus();
  }
  const auto axes = boxes == KvBoxes::kPages ? PageAxes(problem) : RunAxes(problem);
  const CUtensorMapDataType type = problem.kv_dtype == DType::kF16
                                       ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  QUIRE_ASSIGN_OR_RETURN(maps.key, MapOf(problem.key.data, type, axes));
  QUIRE_ASSIGN_OR_RETURN(maps.value, MapOf(problem.value.data, type, axes));
  maps.boxes = boxes;
  return OkStatus();
}

Status MakeMap(const Problem& problem, int32_t box, LatentMap& map) {
  if (problem.page_size < kMinMappedPage) {
    return OkStatus();
  }
  const PageStrides& strides = problem.key.strides;
  const std::array<MapAxis, 3> axes = {
      {{.size = problem.key_dim, .box = kBoxElements},
       {problem.page_size, strides.token * 2, std::min(problem.page_size, box)},
       {problem.num_pages, strides.page * 2}}};
  QUIRE_ASSIGN_OR_RETURN(map.map, MapOf(problem.key.data, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, axes));
  map.exists = true;
  return OkStatus();
}

Status MakeQueryMap(const Problem& problem, int32_t box, LatentMap& map) {
  const HeadRows& from = problem.query;
  const bool rows_continue =
      problem.num_rows == 1 || from.row_stride == problem.q_heads * from.head_stride;
  if (!rows_continue || from.head_stride < problem.key_dim) {
    return OkStatus();
  }
  const std::array<MapAxis, 2> axes = {
      {{.size = problem.key_dim, .box = kBoxElements},
       {problem.num_rows * problem.q_heads, from.head_stride * 2, box}}};
  QUIRE_ASSIGN_OR_RETURN(map.map, MapOf(from.data, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, axes));
  map.exists = true;
  return OkStatus();
}

}  // namespace quire::ops::attention::cuda
