// The kernels of cuda_split_kv.h, for one type of elements and one head size.
//
// A block takes one piece of work of one kv head. Within a chunk the key tiles of kKeys keys go
// round its warps; each warp keeps kStages of its own tiles in flight with cp.async and never waits
// for another warp before the chunk ends. It fetches tiles of the next chunk while it still
// computes this one. A row of a page is gathered by its own address: it costs the same whatever the
// page size. At the end of a chunk the results of the warps are folded in order.
#pragma once

#include <algorithm>

#include "ops/attention/cuda_online_softmax.cuh"
#include "ops/attention/cuda_split_kv_launch.h"
#include "ops/attention/cuda_tensor_core.cuh"

namespace quire::ops::attention::cuda {

template <int kDim>
struct SplitKvSizes {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kKeys = 16;                            // of a tile
  static constexpr int kWarpTiles = kChunk / kKeys / kWarps;  // of a chunk
  static constexpr int kStages = kDim <= 64 ? 6 : 3;
  static constexpr int kTileBytes = kKeys * kDim * 2;  // of keys, and of values
  static constexpr int kStageBytes = 2 * kTileBytes;
  static constexpr int kWarpBytes = kStages * kStageBytes;
  static constexpr int kWarpRows = kWarpTiles * kKeys;
  static constexpr int kRowsBytes = kWarps * 2 * kWarpRows * 4;  // of this chunk and the next
  static constexpr int kScalarBytes = kWarps * kTileRows * 8;
  static constexpr int kSharedBytes = kWarps * kWarpBytes + kRowsBytes + kScalarBytes + kWarps * 4;
  static constexpr int kResidentBlocks = kDim <= 128 ? 2 : 1;
  static_assert(kTileRows * kDim * 4 == kStageBytes, "a warp's result lies over one stage");
};

struct Span {
  int32_t begin = 0;
  int32_t end = 0;
};

// What a piece of work is about.
struct TileSpan {
  int32_t rows;      // of the sequence times heads of the group, from the first of the tile
  int32_t position;  // of the sequence's first row
  int32_t keys;
  Span seen;  // by any row of the tile
};

__device__ inline SplitKvWork WorkAt(const SplitKvSchedule& schedule, const SplitKvWork* list,
                                     int32_t index, int32_t pieces) {
  if (list != nullptr) {
    return list[index];
  }
  const int32_t tile = index / pieces;
  const int32_t piece = index % pieces;
  SplitKvWork work = {tile / schedule.tiles, tile % schedule.tiles, piece, piece + 1, -1};
  if (schedule.chunks > 0) {
    work.partial = tile * schedule.chunks + piece;
    return work;
  }
  work.chunk_end = 0x7fffffff / kChunk;
  return work;
}

__device__ inline Span RowSpan(const Problem& problem, const TileSpan& tile,
                               const SplitKvWork& work, int r) {
  const int32_t row = (work.tile * kTileRows + r) / problem.group();
  const KeySpan seen =
      r < tile.rows ? problem.VisibleKeys(tile.position + row, tile.keys) : KeySpan{};
  return {static_cast<int32_t>(seen.begin), static_cast<int32_t>(seen.end)};
}

__device__ inline TileSpan SpanOf(const Problem& problem, const SplitKvWork& work) {
  TileSpan tile;
  tile.rows =
      static_cast<int32_t>(problem.Rows(work.sequence)) * problem.group() - work.tile * kTileRows;
  tile.position = static_cast<int32_t>(problem.FirstPosition(work.sequence));
  tile.keys = static_cast<int32_t>(problem.Keys(work.sequence));
  if (tile.rows > 0) {
    tile.seen = {RowSpan(problem, tile, work, 0).begin,
                 RowSpan(problem, tile, work, min(tile.rows, kTileRows) - 1).end};
  }
  return tile;
}

// Where row r of a tile has its query, output and partial results.
struct RowPlace {
  int64_t row;
  int head;
};

__device__ inline RowPlace PlaceOf(const Problem& problem, const SplitKvWork& work, int kv_head,
                                   int r) {
  const int64_t flat = int64_t{work.tile} * kTileRows + r;
  return {problem.FirstRow(work.sequence) + flat / problem.group(),
          kv_head * problem.group() + static_cast<int>(flat % problem.group())};
}

__device__ inline int64_t PartialRow(const SplitKvArgs& args, int64_t partial, int kv_head, int r) {
  return (partial * args.problem.kv_heads + kv_head) * args.schedule.tile_rows + r;
}

// The scores' maxima and sums lie behind the weighted sums of all partial results.
__device__ inline float2* PartialScalars(const SplitKvArgs& args) {
  return reinterpret_cast<float2*>(args.schedule.partial_data +
                                   PartialRow(args, args.schedule.partials, 0, 0) *
                                       args.problem.key_dim);
}

// What a block does: the chunks [chunk_begin, chunk_end) of a tile that some row of it sees.
struct BlockWork {
  SplitKvWork work;
  TileSpan tile;
  int kv_head;
  int32_t chunk_begin;
  int32_t chunk_end;

  __device__ int valid_rows() const { return min(tile.rows, kTileRows); }
};

__device__ inline BlockWork BlockWorkOf(const SplitKvArgs& args, const SplitKvWork& work,
                                        int kv_head) {
  BlockWork block = {work, SpanOf(args.problem, work), kv_head, 0, 0};
  block.chunk_begin = max(work.chunk_begin, block.tile.seen.begin / kChunk);
  block.chunk_end = min(work.chunk_end, (block.tile.seen.end + kChunk - 1) / kChunk);
  return block;
}

// The tiles [next, end) of a warp in a chunk; tile i starts at first_key + i * kStride.
template <int kDim>
struct WarpTiles {
  using Sizes = SplitKvSizes<kDim>;
  static constexpr int kStride = Sizes::kKeys * Sizes::kWarps;

  int32_t first_key;
  int next;
  int end;

  __device__ static WarpTiles Of(const BlockWork& block, int32_t chunk, int warp) {
    const int32_t first_key = chunk * kChunk + warp * Sizes::kKeys;
    if (chunk >= block.chunk_end) {
      return {first_key, 0, 0};
    }
    const int32_t before = block.tile.seen.begin - first_key - (Sizes::kKeys - 1);
    const int32_t until = block.tile.seen.end - first_key;
    return {first_key, before <= 0 ? 0 : (before + kStride - 1) / kStride,
            until <= 0 ? 0 : min(Sizes::kWarpTiles, (until + kStride - 1) / kStride)};
  }
};

// Where the keys of a warp's tiles are: looked up while the chunk before is computed.
template <int kDim>
struct RowPlaces {
  using Sizes = SplitKvSizes<kDim>;
  static constexpr int kCount = Sizes::kWarpRows / 32;
  int32_t page[kCount];

  __device__ static int32_t KeyOf(const WarpTiles<kDim>& tiles, int i) {
    const int index = static_cast<int>(threadIdx.x % 32) + 32 * i;
    return tiles.first_key + index / Sizes::kKeys * WarpTiles<kDim>::kStride + index % Sizes::kKeys;
  }

  __device__ void Load(const Problem& problem, const BlockWork& block,
                       const WarpTiles<kDim>& tiles) {
    const int shift = __ffs(problem.page_size) - 1;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int32_t key = KeyOf(tiles, i);
      page[i] = -1;
      if (key >= block.tile.seen.begin && key < block.tile.seen.end) {
        page[i] =
            problem.paged()
                ? problem
                      .page_table[int64_t{block.work.sequence} * problem.max_pages + (key >> shift)]
                : problem.key_start[block.work.sequence];
      }
    }
  }

  // In units of 16 bytes; -1: a key that nobody sees.
  __device__ void Store(const Problem& problem, const WarpTiles<kDim>& tiles, int kv_head,
                        int32_t* rows) const {
    const PageStrides& strides = problem.key.strides;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int32_t key = KeyOf(tiles, i);
      const int64_t at = problem.paged()
                             ? strides.Offset(page[i], kv_head, key & (problem.page_size - 1))
                             : strides.Offset(0, kv_head, int64_t{page[i]} + key);
      rows[threadIdx.x % 32 + 32 * i] = page[i] < 0 ? -1 : static_cast<int32_t>(at / 8);
    }
  }
};

// Element d of row r of a warp's result, exchanged so that the rows of a column lie in different
// banks.
template <int kDim>
__device__ __forceinline__ int PieceOffset(int r, int d) {
  return r * kDim + (d ^ (r % 8 * 8));
}

// One warp's share of a chunk.
template <typename T, int kDim>
struct WarpAttention {
  using Sizes = SplitKvSizes<kDim>;
  static constexpr int kSegments = kDim / 8;  // of 16 bytes, of a row of keys

  const Problem& problem;
  uint32_t stages;  // shared memory of this warp
  Span span[2];     // of the two rows whose scores this lane has
  uint32_t query[kDim / 16][4];
  float acc[kDim / 8][4];
  float max[2];
  float sum[2];

  __device__ void LoadQuery(const BlockWork& block) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      span[half] = RowSpan(problem, block.tile, block.work, r);
      const RowPlace place =
          PlaceOf(problem, block.work, block.kv_head, r < block.tile.rows ? r : 0);
      const T* from = static_cast<const T*>(problem.query.data) +
                      place.row * problem.query.row_stride +
                      place.head * problem.query.head_stride + lane % 4 * 2;
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        query[k][half] = *reinterpret_cast<const uint32_t*>(from + 16 * k);
        query[k][half + 2] = *reinterpret_cast<const uint32_t*>(from + 16 * k + 8);
      }
    }
  }

  __device__ void Start() {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        acc[n][i] = 0.0f;
      }
    }
    max[0] = max[1] = MinusInfinity();
    sum[0] = sum[1] = 0.0f;
  }

  // Asks for the keys and values of tile `index` of this warp, whose keys are at `rows`.
  __device__ void Fetch(const int32_t* rows, int index, int stage) const {
    const int lane = threadIdx.x % 32;
    const uint32_t to = stages + stage * Sizes::kStageBytes;
#pragma unroll
    for (int i = 0; i < Sizes::kKeys * kSegments / 32; ++i) {
      const int key = (lane + 32 * i) / kSegments;
      const int segment = (lane + 32 * i) % kSegments;
      const int32_t row = rows[index * Sizes::kKeys + key];
      const int64_t offset = row < 0 ? 0 : int64_t{row} * 16 + segment * 16;
      const uint32_t at = to + Swizzled<kSegments>(key, segment);
      CopyAsync(at, static_cast<const char*>(problem.key.data) + offset, row >= 0);
      CopyAsync(at + Sizes::kTileBytes, static_cast<const char*>(problem.value.data) + offset,
                row >= 0);
    }
  }

  // Scores of 16 keys: [2 * half + i] of score n is of row `half` and key 8 n + lane % 4 * 2 + i.
  __device__ void Scores(uint32_t keys, float (&score)[2][4]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t b[4];
      LoadMatrices(b, keys + Swizzled<kSegments>(lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
      Multiply<T>(score[0], query[k], b[0], b[1]);
      Multiply<T>(score[1], query[k], b[2], b[3]);
    }
  }

  __device__ void Mask(int32_t first_key, float (&score)[2][4]) const {
    const float cap = problem.logit_soft_cap;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const auto key = static_cast<int32_t>(first_key + 8 * n + threadIdx.x % 4 * 2 + i % 2);
        float x = score[n][i] * problem.scale;
        if (cap > 0.0f) {
          x = cap * tanhf(x / cap);
        }
        const Span& seen = span[i / 2];
        score[n][i] = key >= seen.begin && key < seen.end ? x * kLog2E : MinusInfinity();
      }
    }
  }

  // Exponentials of the scores; what was there is rescaled where the maximum grows.
  __device__ void Exponentials(float (&score)[2][4]) {
    float kept[2];
    bool grows = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = fmaxf(fmaxf(score[0][2 * half], score[0][2 * half + 1]),
                         fmaxf(score[1][2 * half], score[1][2 * half + 1]));
      most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 2));
      most = fmaxf(most, max[half]);
      const float base = BaseOf(most);
      kept[half] = Exp2(max[half] - base);
      grows = grows || most != max[half];
      max[half] = most;
      sum[half] *= kept[half];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          score[n][2 * half + i] = Exp2(score[n][2 * half + i] - base);
          sum[half] += score[n][2 * half + i];
        }
      }
    }
    if (__any_sync(0xffffffff, grows)) {
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          acc[n][i] *= kept[i / 2];
        }
      }
    }
  }

  __device__ void AddValues(uint32_t values, const float (&weight)[2][4]) {
    const int lane = threadIdx.x % 32;
    const uint32_t a[4] = {Pack<T>(weight[0][0], weight[0][1]), Pack<T>(weight[0][2], weight[0][3]),
                           Pack<T>(weight[1][0], weight[1][1]),
                           Pack<T>(weight[1][2], weight[1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      uint32_t b[4];
      LoadMatricesTransposed(b, values + Swizzled<kSegments>(lane % 16, 2 * n + lane / 16));
      Multiply<T>(acc[2 * n], a, b[0], b[1]);
      Multiply<T>(acc[2 * n + 1], a, b[2], b[3]);
    }
  }

  // The tile of keys from `first_key` in a stage.
  __device__ void Attend(int32_t first_key, int stage) {
    const uint32_t keys = stages + stage * Sizes::kStageBytes;
    float score[2][4] = {};
    Scores(keys, score);
    Mask(first_key, score);
    Exponentials(score);
    AddValues(keys + Sizes::kTileBytes, score);
  }

  // Leaves this warp's result where the block folds it. Without a tile there is no stage for the
  // weighted sums, nor are there any.
  __device__ void Leave(float* piece, float2* scalars, int valid_rows, bool has_tiles) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      if (8 * half >= valid_rows) {
        continue;
      }
      float total = sum[half];
      total += __shfl_xor_sync(0xffffffff, total, 1);
      total += __shfl_xor_sync(0xffffffff, total, 2);
      if (lane % 4 == 0) {
        scalars[r] = {max[half], total};
      }
      if (!has_tiles) {
        continue;
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<float2*>(piece + PieceOffset<kDim>(r, 8 * n + lane % 4 * 2)) = {
            acc[n][2 * half], acc[n][2 * half + 1]};
      }
    }
  }
};

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

  __device__ void Join(const RowResult& piece) {
    const FoldFactors factors = Fold(max, piece.max);
    max = factors.max;
    sum = FoldSum(sum, piece.sum, factors);
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      Add(factors, j, piece.acc[j]);
    }
  }

  // A warp's result of row r. What saw nothing changes nothing.
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

  __device__ void StorePartial(float* to, float2* scalars, int c) const {
    if (c == 0) {
      *scalars = {max, sum};
    }
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
    return reinterpret_cast<int32_t*>(data + Sizes::kWarps * Sizes::kWarpBytes) +
           (2 * warp + parity) * Sizes::kWarpRows;
  }
  __device__ float2* Scalars(int warp) const {
    return reinterpret_cast<float2*>(data + Sizes::kWarps * Sizes::kWarpBytes + Sizes::kRowsBytes) +
           warp * kTileRows;
  }
  // The stage over which the result of a warp lies.
  __device__ int32_t& PieceStage(int warp) const {
    return reinterpret_cast<int32_t*>(data + Sizes::kSharedBytes - Sizes::kWarps * 4)[warp];
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
  __device__ void Fill(const WarpAttention<T, kDim>& attention, const int32_t* rows,
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

// Folds what the warps left of row r of a chunk: 8 threads a row, thread c of them.
template <typename T, int kDim>
__device__ void FoldWarps(const SplitKvArgs& args, const SplitKvShared<kDim>& shared,
                          const BlockWork& block, int32_t chunk, RowResult<T, kDim>& total) {
  const int r = static_cast<int>(threadIdx.x / 8);
  const int c = static_cast<int>(threadIdx.x % 8);
  if (r >= block.valid_rows()) {
    return;
  }
  RowResult<T, kDim> piece;
  piece.Clear();
#pragma unroll
  for (int w = 0; w < SplitKvSizes<kDim>::kWarps; ++w) {
    piece.JoinShared(shared.Piece(w, shared.PieceStage(w)), shared.Scalars(w)[r], r, c);
  }
  if (block.work.partial >= 0) {
    const int64_t row =
        PartialRow(args, block.work.partial + chunk - block.work.chunk_begin, block.kv_head, r);
    piece.StorePartial(args.schedule.partial_data + row * kDim, PartialScalars(args) + row, c);
  } else {
    total.Join(piece);
  }
}

template <typename T, int kDim>
__device__ void AttendBlock(const SplitKvArgs& args, const SplitKvShared<kDim>& shared,
                            const BlockWork& block) {
  const Problem& problem = args.problem;
  const int warp = static_cast<int>(threadIdx.x / 32);
  WarpAttention<T, kDim> attention = {problem, SharedAddress(shared.Stages(warp))};
  TileRing<T, kDim> ring;
  int parity = 0;
  WarpTiles<kDim> tiles = WarpTiles<kDim>::Of(block, block.chunk_begin, warp);
  RowPlaces<kDim> places;
  places.Load(problem, block, tiles);
  places.Store(problem, tiles, block.kv_head, shared.Rows(warp, parity));
  __syncwarp();
  int tile = tiles.next;
  ring.Fill(attention, shared.Rows(warp, parity), tiles);
  attention.LoadQuery(block);
  RowResult<T, kDim> total;
  total.Clear();
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
      attention.Attend(tiles.first_key + tile * WarpTiles<kDim>::kStride, ring.Stage(ring.done));
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
    attention.Leave(shared.Piece(warp, stage), shared.Scalars(warp), block.valid_rows(), has_tiles);
    if (threadIdx.x % 32 == 0) {
      shared.PieceStage(warp) = stage;
    }
    __syncthreads();
    FoldWarps(args, shared, block, chunk, total);
    __syncthreads();
    ring.done += has_tiles ? 1 : 0;
    ring.Fill(attention, next_rows, next_tiles);
    tiles = next_tiles;
    tile = next_first;
  }
  const int r = static_cast<int>(threadIdx.x / 8);
  if (block.work.partial < 0 && r < block.valid_rows()) {
    total.StoreOut(problem, PlaceOf(problem, block.work, block.kv_head, r),
                   static_cast<int>(threadIdx.x % 8));
  }
}

template <typename T, int kDim>
__global__ void __launch_bounds__(SplitKvSizes<kDim>::kThreads, SplitKvSizes<kDim>::kResidentBlocks)
    SplitKvKernel(const __grid_constant__ SplitKvArgs args) {
  extern __shared__ __align__(128) char shared[];
  cudaTriggerProgrammaticLaunchCompletion();  // the merge may come and wait
  const SplitKvSchedule& schedule = args.schedule;
  const auto index = static_cast<int32_t>(blockIdx.x / args.problem.kv_heads);
  if (schedule.counts != nullptr && index >= schedule.counts[0]) {
    return;
  }
  const BlockWork block =
      BlockWorkOf(args, WorkAt(schedule, schedule.work, index, max(schedule.chunks, 1)),
                  static_cast<int>(blockIdx.x % args.problem.kv_heads));
  if (block.tile.rows > 0) {
    AttendBlock<T, kDim>(args, {shared}, block);
  }
}

// Folds the partial results of row r of a split tile: thread d has element d. The factors of 32
// chunks are made at once: a running maximum is the same whatever its order.
template <typename T, int kDim>
__device__ void MergeRow(const SplitKvArgs& args, const SplitKvWork& work, int kv_head, int r) {
  const Problem& problem = args.problem;
  const TileSpan tile = SpanOf(problem, work);
  if (r >= tile.rows) {
    return;
  }
  const Span seen = RowSpan(problem, tile, work, r);
  const int chunk_begin = seen.begin / kChunk;
  const int chunk_end = (seen.end + kChunk - 1) / kChunk;
  const int64_t stride = PartialRow(args, 1, 0, 0);
  const int64_t first = PartialRow(args, work.partial + chunk_begin - work.chunk_begin, kv_head, r);
  const float* from = args.schedule.partial_data + first * kDim + threadIdx.x;
  const float2* scalars = PartialScalars(args) + first;
  const int lane = threadIdx.x % 32;
  float max = MinusInfinity();
  float sum = 0.0f;
  float acc = 0.0f;
  cudaGridDependencySynchronize();  // from here on the partial results are read
  constexpr int kBatch = 32;
  constexpr int kGroup = 8;  // the smallest part of a batch
  for (int chunk = chunk_begin; chunk < chunk_end; chunk += kBatch) {
    const int count = min(kBatch, chunk_end - chunk);
    const float2 scalar = lane < count ? scalars[lane * stride] : float2{MinusInfinity(), 0.0f};
    float piece[kBatch];
#pragma unroll
    for (int group = 0; group < kBatch; group += kGroup) {
      if (group < count) {
#pragma unroll
        for (int i = group; i < group + kGroup; ++i) {
          piece[i] = from[min(i, count - 1) * stride * kDim];
        }
      }
    }
    float until = scalar.x;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const float other = __shfl_up_sync(0xffffffff, until, step);
      until = lane >= step ? fmaxf(until, other) : until;
    }
    const float other = __shfl_up_sync(0xffffffff, until, 1);
    const float before = lane == 0 ? max : fmaxf(max, other);
    const FoldFactors factors = Fold(before, scalar.x);
#pragma unroll
    for (int group = 0; group < kBatch; group += kGroup) {
      if (group < count) {
#pragma unroll
        for (int i = group; i < group + kGroup; ++i) {
          const FoldFactors at = {0.0f, __shfl_sync(0xffffffff, factors.kept, i),
                                  __shfl_sync(0xffffffff, factors.joined, i)};
          const float piece_sum = __shfl_sync(0xffffffff, scalar.y, i);
          if (i < count) {
            sum = FoldSum(sum, piece_sum, at);
            acc = FoldSum(acc, piece[i], at);
          }
        }
      }
    }
    max = __shfl_sync(0xffffffff, factors.max, 31);
    scalars += kBatch * stride;
    from += kBatch * stride * kDim;
  }
  const RowPlace place = PlaceOf(problem, work, kv_head, r);
  const Finished finished = Finish(max, sum, problem.sinks, place.head);
  if (threadIdx.x == 0 && problem.lse != nullptr) {
    problem.lse[place.row * problem.q_heads + place.head] = finished.lse;
  }
  Store(acc * finished.scale, static_cast<T*>(problem.out.data) +
                                  place.row * problem.out.row_stride +
                                  place.head * problem.out.head_stride + threadIdx.x);
}

template <typename T, int kDim>
__global__ void __launch_bounds__(kDim) MergeKernel(const __grid_constant__ SplitKvArgs args) {
  const SplitKvSchedule& schedule = args.schedule;
  const auto r = static_cast<int>(blockIdx.x % schedule.tile_rows);
  const auto kv_head = static_cast<int>(blockIdx.x / schedule.tile_rows % args.problem.kv_heads);
  const auto index = static_cast<int32_t>(blockIdx.x / schedule.tile_rows / args.problem.kv_heads);
  if (schedule.counts != nullptr && index >= schedule.counts[1]) {
    return;
  }
  // The uniform schedule has its merges at the first pieces of its tiles.
  const int32_t step = schedule.merges == nullptr ? schedule.chunks : 1;
  MergeRow<T, kDim>(args, WorkAt(schedule, schedule.merges, index * step, max(schedule.chunks, 1)),
                    kv_head, r);
}

template <typename T, int kDim>
cudaError_t LaunchSplitKv(const SplitKvArgs& args, cudaStream_t stream) {
  using Sizes = SplitKvSizes<kDim>;
  const auto kernel = SplitKvKernel<T, kDim>;
  if (const cudaError_t error = cudaFuncSetAttribute(
          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Sizes::kSharedBytes);
      error != cudaSuccess) {
    return error;
  }
  const SplitKvSchedule& schedule = args.schedule;
  const auto blocks = [&](int64_t pieces) {
    return static_cast<uint32_t>(pieces * args.problem.kv_heads);
  };
  kernel<<<blocks(schedule.work_count), Sizes::kThreads, Sizes::kSharedBytes, stream>>>(args);
  if (const cudaError_t error = cudaGetLastError();
      error != cudaSuccess || schedule.merge_count == 0) {
    return error;
  }
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks(int64_t{schedule.merge_count} * schedule.tile_rows);
  config.blockDim = kDim;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, MergeKernel<T, kDim>, args);
}

}  // namespace quire::ops::attention::cuda
