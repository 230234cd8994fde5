// The kernel whose blocks take single parts of chunks, for so few rows and keys that whole chunks
// would leave multiprocessors idle.
#pragma once

#include "ops/attention/split_kv/cuda_split_kv_warp.cuh"

namespace quire::ops::attention::cuda {

// The shared memory of a block: each tile's keys and then its values. The scores of a tile take the
// place of its keys.
template <int kDim>
struct PartShared {
  using Sizes = PartSizes<kDim>;
  static constexpr int kBytes = Sizes::kTiles * 2 * Sizes::kTileBytes;
  static_assert(Sizes::kScoreBytes <= Sizes::kTileBytes);
  char* data;

  __device__ TileScores Scores(int tile) const { return {data + tile * 2 * Sizes::kTileBytes}; }
  __device__ uint32_t Keys(int tile) const {
    return SharedAddress(data) + tile * 2 * Sizes::kTileBytes;
  }
  __device__ uint32_t Values(int tile) const { return Keys(tile) + Sizes::kTileBytes; }
};

template <typename T, int kDim>
__device__ void AttendPart(const SplitKvArgs& args, const PartShared<kDim>& shared,
                           const BlockWork& block, int part) {
  using Sizes = PartSizes<kDim>;
  const Problem& problem = args.problem;
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const int32_t first_key =
      block.work.chunk_begin * kChunk + part * kPartKeys + warp * Sizes::kKeys;
  const int32_t key = first_key + static_cast<int32_t>(threadIdx.x) % Sizes::kKeys;
  const int32_t row = RowAt(problem, PageOf(problem, block, key), block.kv_head, key);
  WarpAttention<T, kDim> attention(problem);
  cudaGridDependencySynchronize();  // from here on what the kernel before wrote is read
  attention.Fetch(problem.key, row, shared.Keys(warp));
  attention.Fetch(problem.value, row, shared.Values(warp));
  CommitCopies();
  attention.LoadQuery(block);
  WaitForCopies<0>();
  __syncwarp();
  float score[2][4] = {};
  attention.ScoreTile(shared.Keys(warp), first_key, score);
  __syncwarp();
  shared.Scores(warp).Put(score, attention.MaxOf(score));
  __syncthreads();
  attention.TakePart([&](int tile) { return shared.Scores(tile); },
                     [&](int tile) { return shared.Values(tile); });
  attention.StorePartial(args, block, int64_t{block.work.partial} + part, attention.part);
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
