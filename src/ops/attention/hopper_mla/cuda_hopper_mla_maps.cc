#include "ops/attention/hopper_mla/cuda_hopper_mla_maps.h"

#include <algorithm>
#include <array>

#include "platform/cuda/cuda_tensor_map.h"

namespace quire::ops::attention::cuda {

namespace {

constexpr int kBoxElements = 64;  // of bf16

}  // namespace

Status MakeLatentMap(const Problem& problem, int32_t box, LatentMap& map) {
  if (problem.page_size < kSwizzledRows) {
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
