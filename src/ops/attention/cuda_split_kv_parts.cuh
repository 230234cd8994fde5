// The kernel whose blocks take single parts of chunks, for so few rows and keys that whole chunks
// would leave multiprocessors idle. The warps of a block share the work of one: each fetches and
// scores a tile, then all join the tiles in order, each for some of the columns.
#pragma once

#include "ops/attention/cuda_split_kv_warp.cuh"

namespace quire::ops::attention::cuda {

template <int kDim>
struct PartSizes : WarpSizes<kDim> {
  using WarpSizes<kDim>::kTiles;
  using WarpSizes<kDim>::kStageBytes;
  static constexpr int kThreads = kTiles * 32;
  static constexpr int kColumns = kDim / kTiles;
  static constexpr int kStagesBytes = kTiles * kStageBytes;
  static constexpr int kSharedBytes = kStagesBytes + WarpSizes<kDim>::kRows * 4;
  static_assert(32 * (8 + 2) * 4 <= WarpSizes<kDim>::kTileBytes, "scores lie over their keys");
};

// The shared memory of a block: a stage of each tile, then where its keys are. The scores of a tile
// take the place of its keys.
template <int kDim>
struct PartShared {
  using Sizes = PartSizes<kDim>;
  char* data;

  __device__ int32_t* Rows() const {
    return reinterpret_cast<int32_t*>(data + Sizes::kStagesBytes);
  }
  __device__ float4* Scores(int tile) const {
    return reinterpret_cast<float4*>(data + tile * Sizes::kStageBytes) + threadIdx.x % 32;
  }
  __device__ float2* Maxima(int tile) const {
    return reinterpret_cast<float2*>(data + tile * Sizes::kStageBytes + 2 * 32 * 16) +
           threadIdx.x % 32;
  }

  // What this lane has of the scores of a tile, and of their maxima.
  __device__ void Put(int tile, const float (&score)[2][4], float2 maxima) const {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      Scores(tile)[32 * n] = {score[n][0], score[n][1], score[n][2], score[n][3]};
    }
    *Maxima(tile) = maxima;
  }
  __device__ float2 Get(int tile, float (&score)[2][4]) const {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float4 four = Scores(tile)[32 * n];
      score[n][0] = four.x;
      score[n][1] = four.y;
      score[n][2] = four.z;
      score[n][3] = four.w;
    }
    return *Maxima(tile);
  }
};

template <typename T, int kDim>
__device__ void AttendPart(const SplitKvArgs& args, const PartShared<kDim>& shared,
                           const BlockWork& block, int part) {
  using Sizes = PartSizes<kDim>;
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const int lane = threadIdx.x % 32;
  const WarpTiles<kDim> tiles = WarpTiles<kDim>::Of(block, block.work.chunk_begin, part);
  const int32_t first_key = tiles.first_key + warp * WarpTiles<kDim>::kStride;
  WarpAttention<T, kDim, Sizes::kColumns> attention = {args.problem, SharedAddress(shared.data),
                                                       warp * Sizes::kColumns};
  if (lane < Sizes::kKeys) {
    const int32_t key = first_key + lane;
    shared.Rows()[warp * Sizes::kKeys + lane] =
        RowAt(args.problem, PageOf(args.problem, block, key), block.kv_head, key);
  }
  __syncwarp();
  cudaGridDependencySynchronize();  // from here on what the kernel before wrote is read
  if (warp >= tiles.next && warp < tiles.end) {
    attention.Fetch(shared.Rows(), warp, warp);
    CommitCopies();
    attention.LoadQuery(block);
    WaitForCopies<0>();
    __syncwarp();
    float score[2][4] = {};
    attention.ScoreStage(first_key, warp, score);
    const float2 maxima = attention.MaxOf(score);
    __syncwarp();
    shared.Put(warp, score, maxima);
  }
  __syncthreads();
  attention.Start();
#pragma unroll 1
  for (int tile = tiles.next; tile < tiles.end; ++tile) {
    float score[2][4];
    const float2 maxima = shared.Get(tile, score);
    attention.JoinStage(tile, maxima, score);
  }
  const int64_t partial = int64_t{block.work.partial} + part;
  const int64_t row = PartialRow(args, partial, block.kv_head, 0);
  if (warp == 0) {
    attention.LeaveScalars(PartialScalars(args) + row, block.valid_rows());
  }
  if (tiles.next < tiles.end) {
    attention.LeaveSums(
        args.schedule.partial_data + row * kDim, [](int r, int d) { return r * kDim + d; },
        block.valid_rows());
  }
}

template <typename T, int kDim>
__global__ void __launch_bounds__(PartSizes<kDim>::kThreads)
    PartKernel(const __grid_constant__ SplitKvArgs args) {
  extern __shared__ __align__(128) char shared[];
  cudaTriggerProgrammaticLaunchCompletion();  // the merge may come and wait
  const int kv_heads = args.problem.kv_heads;
  const auto index = static_cast<int32_t>(blockIdx.x / kv_heads);
  const BlockWork block = BlockWorkOf(args, WorkAt(args, args.schedule.work, index / kParts),
                                      static_cast<int>(blockIdx.x % kv_heads));
  if (block.tile.rows > 0) {
    AttendPart<T, kDim>(args, {shared}, block, index % kParts);
  }
}

}  // namespace quire::ops::attention::cuda
