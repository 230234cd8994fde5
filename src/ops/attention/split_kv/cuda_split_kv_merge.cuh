// The kernel that folds the partial results of tiles which several blocks took: parts into chunks,
// chunks into spans, spans into rows, each in ascending order.
#pragma once

#include "ops/attention/cuda_online_softmax.cuh"
#include "ops/attention/split_kv/cuda_split_kv_work.cuh"

namespace quire::ops::attention::cuda {

inline constexpr int kMergeElements = 32;  // of a row, that a block folds
inline constexpr int kMergeGroup = 8;      // partial results that are loaded unless there are none
inline constexpr uint32_t kAllLanes = 0xffffffff;

// A row's maximum, sum and one element of its weighted sum.
struct MergeState {
  float max = MinusInfinity();
  float sum = 0.0f;
  float acc = 0.0f;
};

// Lanes in groups of kGroup have a maximum each: that of the groups before, among kWidth lanes. It
// is the same whatever its order.
template <int kGroup, int kWidth>
__device__ float MaxBefore(float max) {
  const int lane = threadIdx.x % kWidth;
  float until = max;
#pragma unroll
  for (int step = kGroup; step < kWidth; step *= 2) {
    const float other = __shfl_up_sync(kAllLanes, until, step, kWidth);
    until = lane >= step ? fmaxf(until, other) : until;
  }
  const float before = __shfl_up_sync(kAllLanes, until, kGroup, kWidth);
  return lane < kGroup ? MinusInfinity() : before;
}

// How lane i's result joins its chunk, that its span, and that the row.
struct MergeFactors {
  float2 part;  // kept, joined
  float2 chunk;
  float2 span;
  float sum;
};

__device__ inline float JoinTo(float before, float piece, const float2& factors) {
  return FoldSum(before, piece, {0.0f, factors.x, factors.y});
}

// 32 partial results of a row, kParted of them a chunk and kOf a span. Lane i has the scalars of
// result i, and one element of all.
template <int kParted, int kOf>
struct MergeBatch {
  static constexpr int kSpans = 32 / kOf;

  float2 scalar;
  float piece[32];
  float chunk_max;
  float span_max;
  float2 part;
  float2 chunk;
  float span_acc[kSpans];
  float span_sum[kSpans];

  // The results [begin, end) are there.
  __device__ void Load(const float2* scalars, const float* from, int64_t stride, int64_t dim,
                       int begin, int end) {
    const int lane = threadIdx.x % 32;
    scalar = lane >= begin && lane < end ? scalars[lane * stride] : float2{MinusInfinity(), 0.0f};
#pragma unroll
    for (int group = 0; group < 32; group += kMergeGroup) {
      if (group < end) {
#pragma unroll
        for (int i = group; i < group + kMergeGroup; ++i) {
          piece[i] = from[min(i, end - 1) * stride * dim];
        }
      }
    }
  }

  __device__ static float2 FactorsOf(float before, float max) {
    const FoldFactors factors = Fold(before, max);
    return {factors.kept, factors.joined};
  }

  __device__ void FoldMaxima() {
    const float before_part = MaxBefore<1, kParted>(scalar.x);
    part = FactorsOf(before_part, scalar.x);
    chunk_max = __shfl_sync(kAllLanes, fmaxf(before_part, scalar.x), kParted - 1, kParted);
    const float before_chunk = MaxBefore<kParted, kOf>(chunk_max);
    chunk = FactorsOf(before_chunk, chunk_max);
    span_max = __shfl_sync(kAllLanes, fmaxf(before_chunk, chunk_max), kOf - 1, kOf);
  }

  __device__ float Max() const {
    return __shfl_sync(kAllLanes, fmaxf(MaxBefore<kOf, 32>(span_max), span_max), 31);
  }

  // The chunk whose first result is `first`: its weighted sum and its sum. What saw nothing is not
  // there.
  __device__ float2 ChunkAt(int first, uint32_t seen, const MergeFactors* factors) const {
    if constexpr (kParted == 1) {
      return {piece[first], factors[first].sum};
    }
    float2 folded = {0.0f, 0.0f};
#pragma unroll
    for (int i = first; i < first + kParted; ++i) {
      if ((seen >> i & 1) != 0) {
        folded.x = JoinTo(folded.x, piece[i], factors[i].part);
        folded.y = JoinTo(folded.y, factors[i].sum, factors[i].part);
      }
    }
    return folded;
  }

  // Folds the results of each span.
  __device__ void FoldSpans(const MergeFactors* factors) {
    const uint32_t seen = __ballot_sync(kAllLanes, scalar.x != MinusInfinity());
    const uint32_t chunks = __ballot_sync(kAllLanes, chunk_max != MinusInfinity());
#pragma unroll
    for (int span = 0; span < kSpans; ++span) {
      float2 folded = {0.0f, 0.0f};
#pragma unroll
      for (int first = span * kOf; first < (span + 1) * kOf; first += kParted) {
        const float2 chunk_at = ChunkAt(first, seen, factors);
        if constexpr (kOf == 1) {
          folded = chunk_at;
        } else if ((chunks >> first & 1) != 0) {
          folded.x = JoinTo(folded.x, chunk_at.x, factors[first].chunk);
          folded.y = JoinTo(folded.y, chunk_at.y, factors[first].chunk);
        }
      }
      span_acc[span] = folded.x;
      span_sum[span] = folded.y;
    }
  }

  __device__ void JoinRow(const MergeFactors* factors, MergeState& state) const {
    const uint32_t spans = __ballot_sync(kAllLanes, span_max != MinusInfinity());
#pragma unroll
    for (int span = 0; span < kSpans; ++span) {
      if ((spans >> (span * kOf) & 1) != 0) {
        state.acc = JoinTo(state.acc, span_acc[span], factors[span * kOf].span);
        state.sum = JoinTo(state.sum, span_sum[span], factors[span * kOf].span);
      }
    }
  }
};

// Where a row's partial results are: [begin, end), counted from the first of a span.
struct RowResults {
  const float2* scalars;
  const float* from;
  int64_t stride;
  int64_t dim;
  int begin;
  int end;
};

// The results of a row in ascending order. Warps fold spans side by side; then the row goes from
// warp to warp.
template <int kParted, int kOf>
__device__ MergeState FoldResults(const RowResults& results) {
  __shared__ MergeFactors factors_of[kMaxMergeWarps][32];
  __shared__ float max_of[kMaxMergeWarps];
  __shared__ float2 handed[2][kMergeElements];
  const int lane = threadIdx.x % 32;
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const auto warps = static_cast<int>(blockDim.x / 32);
  MergeFactors* const factors = factors_of[warp];
  MergeState state;
  for (int round = 0; round < results.end; round += 32 * warps) {
    const int first = round + 32 * warp;
    MergeBatch<kParted, kOf> batch;
    batch.Load(results.scalars + first * results.stride,
               results.from + first * results.stride * results.dim, results.stride, results.dim,
               results.begin - first, min(max(results.end - first, 0), 32));
    batch.FoldMaxima();
    const float max = batch.Max();
    if (lane == 0) {
      max_of[warp] = max;
    }
    __syncthreads();
    float before = state.max;
    for (int w = 0; w < warps; ++w) {
      before = w < warp ? fmaxf(before, max_of[w]) : before;
      state.max = fmaxf(state.max, max_of[w]);
    }
    const float before_span = fmaxf(before, MaxBefore<kOf, 32>(batch.span_max));
    factors[lane] = {batch.part, batch.chunk,
                     MergeBatch<kParted, kOf>::FactorsOf(before_span, batch.span_max),
                     batch.scalar.y};
    __syncwarp();
    batch.FoldSpans(factors);
    for (int turn = 0; turn < warps; ++turn) {
      if (turn == warp) {
        batch.JoinRow(factors, state);
        handed[turn % 2][lane] = {state.sum, state.acc};
      }
      __syncthreads();
      state.sum = handed[turn % 2][lane].x;
      state.acc = handed[turn % 2][lane].y;
    }
  }
  return state;
}

// Row r of a tile, its elements from `first` on; kParted results are a chunk, kOf a span.
template <typename T, int kDim, int kParted, int kOf>
__device__ void MergeRow(const SplitKvArgs& args, const SplitKvWork& work, int kv_head, int r,
                         int first) {
  const Problem& problem = args.problem;
  const TileSpan tile = SpanOf(problem, work);
  if (r >= tile.rows) {
    return;
  }
  // A result has kChunk * kSpan / kOf keys.
  constexpr int kChunksOf = kOf >= kSpan ? 1 : kSpan / kOf;
  const Span seen = RowSpan(problem, tile, work, r);
  const int begin = seen.begin / kChunk / kChunksOf * kParted;
  const int end = ((seen.end + kChunk - 1) / kChunk + kChunksOf - 1) / kChunksOf * kParted;
  const int start = begin / kOf * kOf;  // of the first span
  const int64_t row = PartialRow(args, int64_t{work.partial} + start, kv_head, r);
  const int element = first + static_cast<int>(threadIdx.x % 32);
  cudaGridDependencySynchronize();  // from here on the partial results are read
  const MergeState state = FoldResults<kParted, kOf>(
      {PartialScalars(args) + row, args.schedule.partial_data + row * kDim + element,
       PartialRow(args, 1, 0, 0), kDim, begin - start, end - start});
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

template <typename T, int kDim, int kParted, int kOf>
__global__ void __launch_bounds__(32 * kMaxMergeWarps)
    MergeKernel(const __grid_constant__ SplitKvArgs args) {
  const SplitKvSchedule& schedule = args.schedule;
  const auto r = static_cast<int>(blockIdx.x % schedule.tile_rows);
  const auto kv_head = static_cast<int>(blockIdx.x / schedule.tile_rows % args.problem.kv_heads);
  const auto index = static_cast<int32_t>(blockIdx.x / schedule.tile_rows / args.problem.kv_heads);
  // The uniform schedule has its merges at the first pieces of its tiles.
  const int32_t step = schedule.merges == nullptr ? schedule.chunks : 1;
  MergeRow<T, kDim, kParted, kOf>(args, WorkAt(args, schedule.merges, index * step), kv_head, r,
                                  static_cast<int>(blockIdx.y) * kMergeElements);
}

}  // namespace quire::ops::attention::cuda
