// bf16 with heads of 128, and the choice among all.
#include <bit>

#include "ops/attention/hopper_prefill/cuda_hopper_prefill.cuh"

namespace quire::ops::attention::cuda {

namespace {

// Whether heads of `rows` can be read and written in pieces of 16 bytes.
bool IsAligned(const void* data, int64_t row_stride, int64_t head_stride) {
  return std::bit_cast<uintptr_t>(data) % 16 == 0 && row_stride % 8 == 0 && head_stride % 8 == 0;
}

}  // namespace

std::string_view WhyNotHopperPrefill(const Problem& problem) {
  const bool is_half = problem.kv_dtype == DType::kF16 || problem.kv_dtype == DType::kBF16;
  if (!is_half || problem.query.dtype != problem.kv_dtype ||
      problem.out.dtype != problem.kv_dtype) {
    return "queries, keys, values and outputs are not all f16 or all bf16";
  }
  if ((problem.key_dim != 64 && problem.key_dim != 128) || problem.value_dim != problem.key_dim) {
    return "the head size is not 64 or 128";
  }
  if (!problem.paged() || problem.key.strides != problem.value.strides) {
    return "keys and values are not in pages alike";
  }
  if (problem.window_left >= 0 || problem.window_right != 0 || problem.logit_soft_cap != 0.0f) {
    return "a window, a soft cap or rows that see later keys";
  }
  if (problem.scale <= 0.0f) {
    return "the scale is not positive";
  }
  const PageStrides& strides = problem.key.strides;
  if (problem.num_pages * strides.page / 8 >= UINT32_MAX) {
    return "the keys of a layer take 64 GiB";
  }
  if (!IsAligned(problem.query.data, problem.query.row_stride, problem.query.head_stride) ||
      !IsAligned(problem.out.data, problem.out.row_stride, problem.out.head_stride) ||
      !IsAligned(problem.key.data, strides.page, strides.head) ||
      !IsAligned(problem.value.data, strides.token, 0)) {
    return "rows do not start at multiples of 16 bytes";
  }
  return "";
}

Status RunHopperPrefill(const Problem& problem, const HopperPrefillSchedule& schedule,
                        cudaStream_t stream) {
  return hopper_prefill::RunWithTypes(problem, [&]<typename T, int kDim>() {
    return hopper_prefill::Run<T, kDim>(problem, schedule, stream);
  });
}

}  // namespace quire::ops::attention::cuda
