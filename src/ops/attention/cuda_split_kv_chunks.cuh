// The kernel whose blocks take whole chunks of keys, for many rows and long contexts.
//
// Each warp keeps kStages of its own tiles in flight with cp.async and never waits for another warp
// before the chunk ends. It fetches tiles of the next chunk while it still computes this one. At
// the end of a chunk the results of the warps are folded in order, at the end of a span its chunks.
#pragma once

#include "ops/attention/cuda_split_kv_warp.cuh"

namespace quire::ops::attention::cuda {

template <int kDim>
struct SplitKvSizes : WarpSizes<kDim> {
  using WarpSizes<kDim>::kRows;
  using WarpSizes<kDim>::kStageBytes;
  static constexpr int kThreads = kParts * 32;
  static constexpr int kStages = kDim <= 64 ? 6 : 3;
  static constexpr int kWarpBytes = kStages * kStageBytes;
  static constexpr int kRowsBytes = kParts * 2 * kRows * 4;  // of this chunk and the next
  static constexpr int kScalarBytes = kParts * kTileRows * 8;
  static constexpr int kTotalBytes = kTileRows * kDim * 4;
  static constexpr int kSharedBytes =
      kParts * kWarpBytes + kRowsBytes + kScalarBytes + kTotalBytes + kParts * 4;
  static constexpr int kResidentBlocks = kDim <= 128 ? 2 : 1;
  static_assert(kTileRows * kDim * 4 == kStageBytes, "a warp's result lies over one stage");
};

// Element d of row r of a warp's result, exchanged so that the rows of a column lie in different
// banks.
template <int kDim>
__device__ __forceinline__ int PieceOffset(int r, int d) {
  return r * kDim + (d ^ (r % 8 * 8));
}

// One row of a tile, spread over 8 threads: this one has the elements 4 c + 32 j.
template <typename T, int kDim>
struct RowResult {
  float max = MinusInfinity();
  float sum = 0.0f;
  float4 acc[kDim / 32];

  __device__ void Clear() {
    max = MinusInfinity();
    sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      acc[j] = {0.0f, 0.0f, 0.0f, 0.0f};
    }
  }

  __device__ void Add(const FoldFactors& factors, int j, const float4& piece) {
    acc[j] = {FoldSum(acc[j].x, piece.x, factors), FoldSum(acc[j].y, piece.y, factors),
              FoldSum(acc[j].z, piece.z, factors), FoldSum(acc[j].w, piece.w, factors)};
  }

  // What saw nothing changes nothing.
  __device__ void Join(const RowResult& piece) {
    if (piece.max == MinusInfinity()) {
      return;
    }
    const FoldFactors factors = Fold(max, piece.max);
    max = factors.max;
    sum = FoldSum(sum, piece.sum, factors);
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      Add(factors, j, piece.acc[j]);
    }
  }

  // A warp's result of row r.
  __device__ void JoinShared(const float* piece, float2 scalars, int r, int c) {
    if (scalars.x == MinusInfinity()) {
      return;
    }
    const FoldFactors factors = Fold(max, scalars.x);
    max = factors.max;
    sum = FoldSum(sum, scalars.y, factors);
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      Add(factors, j,
          *reinterpret_cast<const float4*>(piece + PieceOffset<kDim>(r, 4 * c + 32 * j)));
    }
  }

  __device__ void LoadSums(const float* from, int c) {
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      acc[j] = *reinterpret_cast<const float4*>(from + 4 * c + 32 * j);
    }
  }

  __device__ void StoreSums(float* to, int c) const {
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      *reinterpret_cast<float4*>(to + 4 * c + 32 * j) = acc[j];
    }
  }

  __device__ void StoreOut(const Problem& problem, const RowPlace& place, int c) const {
    const Finished finished = Finish(max, sum, problem.sinks, place.head);
    if (c == 0 && problem.lse != nullptr) {
      problem.lse[place.row * problem.q_heads + place.head] = finished.lse;
    }
    T* to = static_cast<T*>(problem.out.data) + place.row * problem.out.row_stride +
            place.head * problem.out.head_stride + 4 * c;
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      Store(acc[j].x * finished.scale, to + 32 * j);
      Store(acc[j].y * finished.scale, to + 32 * j + 1);
      Store(acc[j].z * finished.scale, to + 32 * j + 2);
      Store(acc[j].w * finished.scale, to + 32 * j + 3);
    }
  }
};

// The shared memory of a block.
template <int kDim>
struct SplitKvShared {
  using Sizes = SplitKvSizes<kDim>;
  char* data;

  __device__ char* Stages(int warp) const { return data + warp * Sizes::kWarpBytes; }
  __device__ float* Piece(int warp, int stage) const {
    return reinterpret_cast<float*>(Stages(warp) + stage * Sizes::kStageBytes);
  }
  __device__ int32_t* Rows(int warp, int parity) const {
    return reinterpret_cast<int32_t*>(data + kParts * Sizes::kWarpBytes) +
           (2 * warp + parity) * Sizes::kRows;
  }
  __device__ float2* Scalars(int warp) const {
    return reinterpret_cast<float2*>(data + kParts * Sizes::kWarpBytes + Sizes::kRowsBytes) +
           warp * kTileRows;
  }
  // Weighted sums of row r over the spans so far, each thread its own elements.
  __device__ float* Total(int r) const {
    return reinterpret_cast<float*>(data + Sizes::kSharedBytes - kParts * 4 - Sizes::kTotalBytes) +
           r * kDim;
  }
  // The stage over which the result of a warp lies.
  __device__ int32_t& PieceStage(int warp) const {
    return reinterpret_cast<int32_t*>(data + Sizes::kSharedBytes - kParts * 4)[warp];
  }
};

// The ring of stages of a warp: tiles [done, asked) are under way.
template <typename T, int kDim>
struct TileRing {
  using Sizes = SplitKvSizes<kDim>;
  uint32_t asked = 0;
  uint32_t done = 0;

  __device__ int Stage(uint32_t tile) const { return static_cast<int>(tile % Sizes::kStages); }

  // Asks for tiles until the ring is full or there are none.
  __device__ void Fill(const WarpAttention<T, kDim, kDim>& attention, const int32_t* rows,
                       WarpTiles<kDim>& tiles) {
    while (asked - done < Sizes::kStages && tiles.next < tiles.end) {
      attention.Fetch(rows, tiles.next++, Stage(asked++));
      CommitCopies();
    }
  }

  // Until the oldest tile under way has come.
  template <int kPending = Sizes::kStages - 1>
  __device__ void Wait() const {
    if constexpr (kPending == 0) {
      WaitForCopies<0>();
    } else if (asked - done > kPending) {
      WaitForCopies<kPending>();
    } else {
      Wait<kPending - 1>();
    }
    __syncwarp();
  }
};

// What a thread has of row r so far: 8 threads a row, thread c of them.
template <typename T, int kDim>
struct RowState {
  int r = static_cast<int>(threadIdx.x / 8);
  int c = static_cast<int>(threadIdx.x % 8);
  RowResult<T, kDim> span;  // the chunks of this one
  float total_max = MinusInfinity();
  float total_sum = 0.0f;

  // The spans before; their weighted sums are at `sums`.
  __device__ RowResult<T, kDim> Total(const float* sums) const {
    RowResult<T, kDim> total;
    total.max = total_max;
    total.sum = total_sum;
    total.LoadSums(sums, c);
    return total;
  }

  __device__ void JoinSpan(float* sums) {
    RowResult<T, kDim> total = Total(sums);
    total.Join(span);
    total_max = total.max;
    total_sum = total.sum;
    total.StoreSums(sums, c);
  }

  __device__ void StorePartial(const SplitKvArgs& args, const RowResult<T, kDim>& result,
                               int64_t partial, int kv_head) const {
    const int64_t row = PartialRow(args, partial, kv_head, r);
    if (c == 0) {
      PartialScalars(args)[row] = {result.max, result.sum};
    }
    result.StoreSums(args.schedule.partial_data + row * kDim, c);
  }
};

// Folds what the warps left of a chunk.
template <typename T, int kDim>
__device__ void FoldWarps(const SplitKvArgs& args, const SplitKvShared<kDim>& shared,
                          const BlockWork& block, int32_t chunk, RowState<T, kDim>& row) {
  if (row.r >= block.valid_rows()) {
    return;
  }
  RowResult<T, kDim> piece;
  piece.Clear();
#pragma unroll
  for (int w = 0; w < kParts; ++w) {
    piece.JoinShared(shared.Piece(w, shared.PieceStage(w)), shared.Scalars(w)[row.r], row.r, row.c);
  }
  const SplitKvWork& work = block.work;
  if (work.partial >= 0 && args.schedule.grain == SplitKvGrain::kChunks) {
    row.StorePartial(args, piece, int64_t{work.partial} + chunk - work.chunk_begin, block.kv_head);
    return;
  }
  row.span.Join(piece);
  if ((chunk + 1) % kSpan != 0 && chunk + 1 < block.chunk_end) {
    return;
  }
  if (work.partial >= 0) {
    row.StorePartial(args, row.span,
                     int64_t{work.partial} + chunk / kSpan - work.chunk_begin / kSpan,
                     block.kv_head);
  } else {
    row.JoinSpan(shared.Total(row.r));
  }
  row.span.Clear();
}

template <typename T, int kDim>
__device__ void AttendBlock(const SplitKvArgs& args, const SplitKvShared<kDim>& shared,
                            const BlockWork& block) {
  const Problem& problem = args.problem;
  const int warp = static_cast<int>(threadIdx.x / 32);
  WarpAttention<T, kDim, kDim> attention = {problem, SharedAddress(shared.Stages(warp)), 0};
  TileRing<T, kDim> ring;
  int parity = 0;
  WarpTiles<kDim> tiles = WarpTiles<kDim>::Of(block, block.chunk_begin, warp);
  RowPlaces<kDim> places;
  places.Load(problem, block, tiles);
  places.Store(problem, tiles, block.kv_head, shared.Rows(warp, parity));
  __syncwarp();
  int tile = tiles.next;
  cudaGridDependencySynchronize();  // from here on what the kernel before wrote is read
  ring.Fill(attention, shared.Rows(warp, parity), tiles);
  attention.LoadQuery(block);
  RowState<T, kDim> row;
  row.span.Clear();
  row.span.StoreSums(shared.Total(row.r), row.c);
  for (int32_t chunk = block.chunk_begin; chunk < block.chunk_end; ++chunk, parity ^= 1) {
    WarpTiles<kDim> next_tiles = WarpTiles<kDim>::Of(block, chunk + 1, warp);
    places.Load(problem, block, next_tiles);
    const int first = tile;
    const int next_first = next_tiles.next;
    const bool has_tiles = first < tiles.end;
    int32_t* const next_rows = shared.Rows(warp, parity ^ 1);
    attention.Start();
    for (; tile < tiles.end; ++tile) {
      ring.Wait();
      const int stage = ring.Stage(ring.done);
      float score[2][4] = {};
      attention.ScoreStage(tiles.first_key + tile * WarpTiles<kDim>::kStride, stage, score);
      attention.JoinStage(stage, attention.MaxOf(score), score);
      __syncwarp();
      if (tile == first) {
        places.Store(problem, next_tiles, block.kv_head, next_rows);
        __syncwarp();
      }
      if (tile + 1 < tiles.end) {  // the last stage takes this warp's result first
        ++ring.done;
        ring.Fill(attention, shared.Rows(warp, parity), tiles);
        ring.Fill(attention, next_rows, next_tiles);
      }
    }
    if (!has_tiles) {
      places.Store(problem, next_tiles, block.kv_head, next_rows);
      __syncwarp();
    }
    const int stage = ring.Stage(ring.done);
    attention.LeaveScalars(shared.Scalars(warp), block.valid_rows());
    if (has_tiles) {  // else there is no stage for the sums, nor are there any
      attention.LeaveSums(shared.Piece(warp, stage), PieceOffset<kDim>, block.valid_rows());
    }
    if (threadIdx.x % 32 == 0) {
      shared.PieceStage(warp) = stage;
    }
    __syncthreads();
    FoldWarps(args, shared, block, chunk, row);
    __syncthreads();
    ring.done += has_tiles ? 1 : 0;
    ring.Fill(attention, next_rows, next_tiles);
    tiles = next_tiles;
    tile = next_first;
  }
  if (block.work.partial < 0 && row.r < block.valid_rows()) {
    row.Total(shared.Total(row.r))
        .StoreOut(problem, PlaceOf(problem, block.work, block.kv_head, row.r), row.c);
  }
}

template <typename T, int kDim>
__global__ void __launch_bounds__(SplitKvSizes<kDim>::kThreads, SplitKvSizes<kDim>::kResidentBlocks)
    SplitKvKernel(const __grid_constant__ SplitKvArgs args) {
  extern __shared__ __align__(128) char shared[];
  cudaTriggerProgrammaticLaunchCompletion();  // the merge may come and wait
  const BlockWork block =
      BlockWorkOf(args, WorkAt(args, args.schedule.work, blockIdx.x / args.problem.kv_heads),
                  static_cast<int>(blockIdx.x % args.problem.kv_heads));
  if (block.tile.rows > 0) {
    AttendBlock<T, kDim>(args, {shared}, block);
  }
}

}  // namespace quire::ops::attention::cuda
