// The kernels of cuda_split_kv.h, for one type of elements and one head size.
#pragma once

#include "ops/attention/split_kv/cuda_split_kv_chunks.cuh"
#include "ops/attention/split_kv/cuda_split_kv_merge.cuh"
#include "ops/attention/split_kv/cuda_split_kv_parts.cuh"

namespace quire::ops::attention::cuda {

using SplitKvFunction = void (*)(SplitKvArgs);

// Enqueues a kernel that comes while the one before it still runs, and waits where it must.
inline cudaError_t LaunchEarly(const SplitKvArgs& args, SplitKvFunction kernel, dim3 blocks,
                               int threads, int shared_bytes, cudaStream_t stream) {
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = static_cast<uint32_t>(threads);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, args);
}

inline cudaError_t LaunchAttention(const SplitKvArgs& args, SplitKvFunction kernel, int64_t pieces,
                                   int threads, int shared_bytes, cudaStream_t stream) {
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
      error != cudaSuccess) {
    return error;
  }
  const auto blocks = static_cast<uint32_t>(pieces * args.problem.kv_heads);
  return LaunchEarly(args, kernel, blocks, threads, shared_bytes, stream);
}

inline cudaError_t LaunchMerge(const SplitKvArgs& args, SplitKvFunction kernel,
                               cudaStream_t stream) {
  const SplitKvSchedule& schedule = args.schedule;
  const auto rows = static_cast<uint32_t>(int64_t{schedule.merge_count} * schedule.tile_rows *
                                          args.problem.kv_heads);
  const auto parts = static_cast<uint32_t>(args.problem.key_dim / kMergeElements);
  return LaunchEarly(args, kernel, dim3(rows, parts), 32 * schedule.merge_warps, 0, stream);
}

template <typename T, int kDim>
SplitKvFunction MergeOf(SplitKvGrain grain) {
  switch (grain) {
    case SplitKvGrain::kSpans: return MergeKernel<T, kDim, 1, 1>;
    case SplitKvGrain::kChunks: return MergeKernel<T, kDim, 1, kSpan>;
    default: return MergeKernel<T, kDim, kParts, kParts * kSpan>;
  }
}

template <typename T, int kDim>
cudaError_t LaunchSplitKv(const SplitKvArgs& args, cudaStream_t stream) {
  const SplitKvSchedule& schedule = args.schedule;
  const cudaError_t error =
      schedule.grain == SplitKvGrain::kParts
          ? LaunchAttention(args, PartKernel<T, kDim>, int64_t{schedule.work_count} * kParts,
                            PartSizes<kDim>::kThreads, PartShared<kDim>::kBytes, stream)
          : LaunchAttention(args, SplitKvKernel<T, kDim>, schedule.work_count,
                            SplitKvSizes<kDim>::kThreads, SplitKvSizes<kDim>::kSharedBytes, stream);
  return error != cudaSuccess || schedule.merge_count == 0
             ? error
             : LaunchMerge(args, MergeOf<T, kDim>(schedule.grain), stream);
}

}  // namespace quire::ops::attention::cuda
