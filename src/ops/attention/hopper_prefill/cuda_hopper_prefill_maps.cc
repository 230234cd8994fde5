#include "ops/attention/hopper_prefill/cuda_hopper_prefill_maps.h"

#include <array>

#include "ops/attention/hopper_prefill/hopper_prefill_plan.h"
#include "platform/cuda/cuda_tensor_map.h"

namespace quire::ops::attention::cuda {

namespace {

constexpr int kBoxElements = 64;  // of 2 bytes, as all that is mapped here

std::array<MapAxis, 3> QueryAxes(const Problem& problem) {
  return {{{.size = problem.key_dim, .box = kBoxElements},
           {problem.num_rows, problem.query.row_stride * 2, kHopperTileRows},
           {problem.q_heads, problem.query.head_stride * 2}}};
}

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
  if (problem.page_size >= kSwizzledRows) {
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
  const CUtensorMapDataType type = problem.kv_dtype == DType::kF16
                                       ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  QUIRE_ASSIGN_OR_RETURN(maps.query, MapOf(problem.query.data, type, QueryAxes(problem)));
  const KvBoxes boxes = BoxesOf(problem);
  if (boxes == KvBoxes::kNone) {
    return OkStatus();
  }
  const auto axes = boxes == KvBoxes::kPages ? PageAxes(problem) : RunAxes(problem);
  QUIRE_ASSIGN_OR_RETURN(maps.key, MapOf(problem.key.data, type, axes));
  QUIRE_ASSIGN_OR_RETURN(maps.value, MapOf(problem.value.data, type, axes));
  maps.boxes = boxes;
  return OkStatus();
}

}  // namespace quire::ops::attention::cuda
