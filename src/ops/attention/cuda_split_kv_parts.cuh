// The kernel whose blocks are single warps that take a part of a chunk each, for so few rows and
// keys that whole chunks would leave multiprocessors idle. All keys of a part are in flight at
// once; its result waits for the merge.
#pragma once

#include "ops/attention/cuda_split_kv_warp.cuh"

namespace quire::ops::attention::cuda {

template <int kDim>
struct PartSizes : WarpSizes<kDim> {
  using WarpSizes<kDim>::kTiles;
  static constexpr int kStagesBytes = kTiles * WarpSizes<kDim>::kStageBytes;
  static constexpr int kSharedBytes = kStagesBytes + WarpSizes<kDim>::kRows * 4;
};

template <typename T, int kDim>
__device__ void AttendPart(const SplitKvArgs& args, char* shared, const BlockWork& block,
                           int part) {
  using Sizes = PartSizes<kDim>;
  auto* const rows = reinterpret_cast<int32_t*>(shared + Sizes::kStagesBytes);
  const WarpTiles<kDim> tiles = WarpTiles<kDim>::Of(block, block.work.chunk_begin, part);
  const auto has = [&](int tile) { return tile >= tiles.next && tile < tiles.end; };
  WarpAttention<T, kDim> attention = {args.problem, SharedAddress(shared)};
  RowPlaces<kDim> places;
  places.Load(args.problem, block, tiles);
  places.Store(args.problem, tiles, block.kv_head, rows);
  __syncwarp();
  cudaGridDependencySynchronize();  // from here on what the kernel before wrote is read
#pragma unroll
  for (int tile = 0; tile < Sizes::kTiles; ++tile) {
    if (has(tile)) {
      attention.Fetch(rows, tile, tile);
    }
  }
  CommitCopies();
  attention.LoadQuery(block);
  attention.Start();
  WaitForCopies<0>();
  __syncwarp();
  float score[Sizes::kTiles][2][4] = {};
#pragma unroll
  for (int tile = 0; tile < Sizes::kTiles; ++tile) {
    if (has(tile)) {
      attention.ScoreStage(tile, score[tile]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < Sizes::kTiles; ++tile) {
    if (has(tile)) {
      attention.JoinStage(tiles.first_key + tile * WarpTiles<kDim>::kStride, tile, score[tile]);
    }
  }
  const int64_t partial = int64_t{block.work.partial} + part;
  const int64_t row = PartialRow(args, partial, block.kv_head, 0);
  attention.Leave(
      args.schedule.partial_data + row * kDim, [](int r, int d) { return r * kDim + d; },
      PartialScalars(args) + row, block.valid_rows(), tiles.next < tiles.end);
}

template <typename T, int kDim>
__global__ void __launch_bounds__(32) PartKernel(const __grid_constant__ SplitKvArgs args) {
  extern __shared__ __align__(128) char shared[];
  cudaTriggerProgrammaticLaunchCompletion();  // the merge may come and wait
  const int kv_heads = args.problem.kv_heads;
  const auto index = static_cast<int32_t>(blockIdx.x / kv_heads);
  const BlockWork block = BlockWorkOf(args, WorkAt(args, args.schedule.work, index / kParts),
                                      static_cast<int>(blockIdx.x % kv_heads));
  if (block.tile.rows > 0) {
    AttendPart<T, kDim>(args, shared, block, index % kParts);
  }
}

}  // namespace quire::ops::attention::cuda
