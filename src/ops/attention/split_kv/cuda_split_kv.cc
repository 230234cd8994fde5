#include "ops/attention/split_kv/cuda_split_kv.h"

#include <algorithm>
#include <bit>

#include "ops/attention/split_kv/cuda_split_kv_launch.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::attention::cuda {

namespace {

int32_t CeilDiv(int64_t a, int64_t b) {
  return static_cast<int32_t>((a + b - 1) / b);
}

constexpr int64_t kMaxOffset = (int64_t{1} << 31) * 8;  // elements that a row's place can say

bool IsTensorCoreType(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16;
}

bool IsAligned(const void* data, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) == 0;
}

bool AreRowsAligned(const Problem& problem) {
  const PageStrides& strides = problem.key.strides;
  return IsAligned(problem.key.data, 16) && IsAligned(problem.value.data, 16) &&
         strides.page % 8 == 0 && strides.head % 8 == 0 && strides.token % 8 == 0 &&
         IsAligned(problem.query.data, 4) && problem.query.row_stride % 2 == 0 &&
         problem.query.head_stride % 2 == 0;
}

}  // namespace

SplitKvSchedule UniformSchedule(const Problem& problem, int64_t rows, int64_t keys) {
  SplitKvSchedule schedule;
  const int64_t flat_rows = rows * problem.group();
  schedule.tiles = std::max(CeilDiv(flat_rows, kTileRows), 1);
  schedule.tile_rows = static_cast<int32_t>(std::clamp<int64_t>(flat_rows, 1, kTileRows));
  const int64_t tiles = int64_t{problem.num_sequences} * schedule.tiles;
  const int64_t chunks = CeilDiv(keys, kChunk);
  if (rows == 1 && chunks > 1 && tiles * chunks <= kMaxPartials) {
    schedule.chunks = static_cast<int32_t>(chunks);
    schedule.merge_count = static_cast<int32_t>(tiles);
    schedule.partials = static_cast<int32_t>(tiles * chunks);
    schedule.merge_warps = MergeWarps(schedule.chunks);
  }
  schedule.work_count = static_cast<int32_t>(tiles * std::max(schedule.chunks, 1));
  return schedule;
}

int32_t MergeWarps(int32_t partials) {
  const auto warps = static_cast<uint32_t>(std::max(CeilDiv(partials, 32), 1));
  return std::min(static_cast<int32_t>(std::bit_ceil(warps)), kMaxMergeWarps);
}

int64_t PartialFloats(int32_t kv_heads, int32_t head_dim, int64_t partials, int32_t tile_rows) {
  return partials * kv_heads * tile_rows * (head_dim + 2);
}

std::string_view WhyNotSplitKv(const Problem& problem) {
  if (!IsTensorCoreType(problem.kv_dtype) || problem.query.dtype != problem.kv_dtype) {
    return "queries and keys are not both f16 or both bf16";
  }
  if (problem.key_dim != problem.value_dim ||
      (problem.key_dim != 64 && problem.key_dim != 128 && problem.key_dim != 256)) {
    return "the head size is not 64, 128 or 256";
  }
  if (problem.key.strides != problem.value.strides) {
    return "keys and values lie differently";
  }
  if (!AreRowsAligned(problem)) {
    return "rows are not aligned to 16 bytes";
  }
  const int64_t elements = problem.paged() ? problem.num_pages * problem.key.strides.page
                                           : problem.num_keys * problem.key.strides.token;
  return elements < kMaxOffset ? "" : "the cache of a layer has 32 GiB of keys or more";
}

Status RunSplitKv(const Problem& problem, const SplitKvSchedule& schedule, cudaStream_t stream) {
  if (schedule.work_count == 0) {
    return OkStatus();
  }
  const SplitKvArgs args = {problem, schedule};
  const auto launch = [&]() -> cudaError_t {
    const bool half = problem.kv_dtype == DType::kF16;
    switch (problem.key_dim) {
      case 64:
        return half ? LaunchSplitKv<__half, 64>(args, stream)
                    : LaunchSplitKv<__nv_bfloat16, 64>(args, stream);
      case 128:
        return half ? LaunchSplitKv<__half, 128>(args, stream)
                    : LaunchSplitKv<__nv_bfloat16, 128>(args, stream);
      default:
        return half ? LaunchSplitKv<__half, 256>(args, stream)
                    : LaunchSplitKv<__nv_bfloat16, 256>(args, stream);
    }
  };
  return CudaStatus(launch(), "split_kv");
}

}  // namespace quire::ops::attention::cuda
