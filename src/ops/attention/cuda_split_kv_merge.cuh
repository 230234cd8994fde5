// The kernel that folds the partial results of tiles which several blocks took: parts into chunks,
// chunks into rows, each in ascending order.
#pragma once

#include "ops/attention/cuda_online_softmax.cuh"
#include "ops/attention/cuda_split_kv_work.cuh"

namespace quire::ops::attention::cuda {

inline constexpr int kMergeElements = 32;  // of a row, that a block folds
inline constexpr int kMergeGroup = 8;      // partial results that are loaded unless there are none

// One row's state between partial results.
struct MergeState {
  float max = MinusInfinity();
  float sum = 0.0f;
  float acc = 0.0f;
};

// 32 partial results of a row, kOf of them a chunk: lane i has the scalars of result i, and element
// `lane` of all. Their factors are made at once: a running maximum is the same whatever its order.
template <int kOf>
struct MergeBatch {
  static constexpr uint32_t kAll = 0xffffffff;

  int count;  // of 32; some of the last chunk may be more than the row sees, all of them empty
  float2 scalar;
  FoldFactors part;  // of this lane's result in its chunk
  float chunk_max;
  float chunk_sum;
  float piece[32];

  __device__ void Load(const float2* scalars, const float* from, int64_t stride, int64_t dim) {
    const int lane = threadIdx.x % 32;
    scalar = lane < count ? scalars[lane * stride] : float2{MinusInfinity(), 0.0f};
#pragma unroll
    for (int group = 0; group < 32; group += kMergeGroup) {
      if (group < count) {
#pragma unroll
        for (int i = group; i < group + kMergeGroup; ++i) {
          piece[i] = from[min(i, count - 1) * stride * dim];
        }
      }
    }
  }

  __device__ void FoldScalars() {
    const int lane = threadIdx.x % 32;
    float until = scalar.x;
#pragma unroll
    for (int step = 1; step < kOf; step *= 2) {
      const float other = __shfl_up_sync(kAll, until, step, kOf);
      until = lane % kOf >= step ? fmaxf(until, other) : until;
    }
    const float before = __shfl_up_sync(kAll, until, 1, kOf);
    part = Fold(lane % kOf == 0 ? MinusInfinity() : before, scalar.x);
    chunk_max = __shfl_sync(kAll, until, kOf - 1, kOf);
    chunk_sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kOf; ++i) {
      const FoldFactors at = {0.0f, __shfl_sync(kAll, part.kept, i, kOf),
                              __shfl_sync(kAll, part.joined, i, kOf)};
      const float part_sum = __shfl_sync(kAll, scalar.y, i, kOf);
      if (__shfl_sync(kAll, scalar.x, i, kOf) != MinusInfinity()) {
        chunk_sum = FoldSum(chunk_sum, part_sum, at);
      }
    }
  }

  // The weighted sum of the chunk whose first result is `first`. What saw nothing is not there.
  __device__ float ChunkOf(int first) const {
    float chunk = 0.0f;
#pragma unroll
    for (int i = 0; i < kOf; ++i) {
      const FoldFactors at = {0.0f, __shfl_sync(kAll, part.kept, first + i),
                              __shfl_sync(kAll, part.joined, first + i)};
      if (__shfl_sync(kAll, scalar.x, first + i) != MinusInfinity()) {
        chunk = FoldSum(chunk, piece[first + i], at);
      }
    }
    return chunk;
  }

  __device__ void Join(MergeState& state) const {
    const int lane = threadIdx.x % 32;
    float until = chunk_max;
#pragma unroll
    for (int step = kOf; step < 32; step *= 2) {
      const float other = __shfl_up_sync(kAll, until, step);
      until = lane >= step ? fmaxf(until, other) : until;
    }
    const float other = __shfl_up_sync(kAll, until, kOf);
    const FoldFactors factors = Fold(lane < kOf ? state.max : fmaxf(state.max, other), chunk_max);
#pragma unroll
    for (int group = 0; group < 32; group += kMergeGroup) {
      if (group < count) {
#pragma unroll
        for (int i = group; i < group + kMergeGroup; i += kOf) {
          const FoldFactors at = {0.0f, __shfl_sync(kAll, factors.kept, i),
                                  __shfl_sync(kAll, factors.joined, i)};
          const float sum = __shfl_sync(kAll, chunk_sum, i);
          const float chunk = ChunkOf(i);
          if (i < count) {
            state.sum = FoldSum(state.sum, sum, at);
            state.acc = FoldSum(state.acc, chunk, at);
          }
        }
      }
    }
    state.max = __shfl_sync(kAll, factors.max, 31);
  }
};

// The results of a row in ascending order: the warps' batches are loaded together, then the state
// goes from warp to warp.
template <int kOf>
__device__ MergeState FoldResults(const float2* scalars, const float* from, int64_t stride,
                                  int64_t dim, int results) {
  __shared__ MergeState handed[2][kMergeElements];
  const int lane = threadIdx.x % 32;
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const auto warps = static_cast<int>(blockDim.x / 32);
  MergeState state;
  for (int round = 0; round < results; round += 32 * warps) {
    const int first = round + 32 * warp;
    MergeBatch<kOf> batch;
    batch.count = min(max(results - first, 0), 32);
    batch.Load(scalars + first * stride, from + first * stride * dim, stride, dim);
    batch.FoldScalars();
    for (int turn = 0; turn < warps; ++turn) {
      if (turn == warp && batch.count > 0) {
        batch.Join(state);
      }
      if (warps > 1) {
        if (turn == warp) {
          handed[turn % 2][lane] = state;
        }
        __syncthreads();
        state = handed[turn % 2][lane];
      }
    }
  }
  return state;
}

// Row r of a tile, its elements from `first` on.
template <typename T, int kDim, int kOf>
__device__ void MergeRow(const SplitKvArgs& args, const SplitKvWork& work, int kv_head, int r,
                         int first) {
  const Problem& problem = args.problem;
  const TileSpan tile = SpanOf(problem, work);
  if (r >= tile.rows) {
    return;
  }
  const Span seen = RowSpan(problem, tile, work, r);
  const int chunk_begin = seen.begin / kChunk;
  const int chunk_end = (seen.end + kChunk - 1) / kChunk;
  const int64_t stride = PartialRow(args, 1, 0, 0);
  const int64_t partial = work.partial + int64_t{chunk_begin - work.chunk_begin} * kOf;
  const int64_t row = PartialRow(args, partial, kv_head, r);
  const int element = first + static_cast<int>(threadIdx.x % 32);
  cudaGridDependencySynchronize();  // from here on the partial results are read
  const MergeState state = FoldResults<kOf>(PartialScalars(args) + row,
                                            args.schedule.partial_data + row * kDim + element,
                                            stride, kDim, max(chunk_end - chunk_begin, 0) * kOf);
  if (threadIdx.x >= kMergeElements) {
    return;
  }
  const RowPlace place = PlaceOf(problem, work, kv_head, r);
  const Finished finished = Finish(state.max, state.sum, problem.sinks, place.head);
  if (element == 0 && problem.lse != nullptr) {
    problem.lse[place.row * problem.q_heads + place.head] = finished.lse;
  }
  Store(state.acc * finished.scale, static_cast<T*>(problem.out.data) +
                                        place.row * problem.out.row_stride +
                                        place.head * problem.out.head_stride + element);
}

template <typename T, int kDim, int kOf>
__global__ void __launch_bounds__(32 * kMaxMergeWarps)
    MergeKernel(const __grid_constant__ SplitKvArgs args) {
  const SplitKvSchedule& schedule = args.schedule;
  const auto r = static_cast<int>(blockIdx.x % schedule.tile_rows);
  const auto kv_head = static_cast<int>(blockIdx.x / schedule.tile_rows % args.problem.kv_heads);
  const auto index = static_cast<int32_t>(blockIdx.x / schedule.tile_rows / args.problem.kv_heads);
  // The uniform schedule has its merges at the first pieces of its tiles.
  const int32_t step = schedule.merges == nullptr ? schedule.chunks : 1;
  MergeRow<T, kDim, kOf>(args, WorkAt(args, schedule.merges, index * step), kv_head, r,
                         static_cast<int>(blockIdx.y) * kMergeElements);
}

}  // namespace quire::ops::attention::cuda
