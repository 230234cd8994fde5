// One warp's share of a chunk of keys, for the kernels over split keys: where its keys are, their
// way to shared memory, scores, weights and weighted sums.
//
// Within a chunk the key tiles of kKeys keys go round the kParts warps. A row of a page is gathered
// by its own address: it costs the same whatever the page size.
#pragma once

#include "ops/attention/cuda_online_softmax.cuh"
#include "ops/attention/cuda_split_kv_work.cuh"
#include "ops/attention/cuda_tensor_core.cuh"

namespace quire::ops::attention::cuda {

template <int kDim>
struct WarpSizes {
  static constexpr int kKeys = 16;                        // of a tile
  static constexpr int kTiles = kChunk / kKeys / kParts;  // of a chunk
  static constexpr int kRows = kTiles * kKeys;            // of keys, of a chunk
  static constexpr int kTileBytes = kKeys * kDim * 2;     // of keys, and of values
  static constexpr int kStageBytes = 2 * kTileBytes;
};

// The tiles [next, end) of a warp in a chunk; tile i starts at first_key + i * kStride.
template <int kDim>
struct WarpTiles {
  using Sizes = WarpSizes<kDim>;
  static constexpr int kStride = Sizes::kKeys * kParts;

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
            until <= 0 ? 0 : min(Sizes::kTiles, (until + kStride - 1) / kStride)};
  }
};

// The page of a key, or the first key of a sequence without pages; -1: a key that nobody sees.
__device__ inline int32_t PageOf(const Problem& problem, const BlockWork& block, int32_t key) {
  if (key < block.tile.seen.begin || key >= block.tile.seen.end) {
    return -1;
  }
  const int shift = __ffs(problem.page_size) - 1;
  return problem.paged()
             ? problem.page_table[int64_t{block.work.sequence} * problem.max_pages + (key >> shift)]
             : problem.key_start[block.work.sequence];
}

// Where a key is, in units of 16 bytes; -1: a key that nobody sees.
__device__ inline int32_t RowAt(const Problem& problem, int32_t page, int kv_head, int32_t key) {
  const PageStrides& strides = problem.key.strides;
  const int64_t at = problem.paged() ? strides.Offset(page, kv_head, key & (problem.page_size - 1))
                                     : strides.Offset(0, kv_head, int64_t{page} + key);
  return page < 0 ? -1 : static_cast<int32_t>(at / 8);
}

// Where the keys of a warp's tiles are: looked up while the chunk before is computed.
template <int kDim>
struct RowPlaces {
  using Sizes = WarpSizes<kDim>;
  static constexpr int kCount = Sizes::kRows / 32;
  int32_t page[kCount];

  __device__ static int32_t KeyOf(const WarpTiles<kDim>& tiles, int i) {
    const int index = static_cast<int>(threadIdx.x % 32) + 32 * i;
    return tiles.first_key + index / Sizes::kKeys * WarpTiles<kDim>::kStride + index % Sizes::kKeys;
  }

  __device__ void Load(const Problem& problem, const BlockWork& block,
                       const WarpTiles<kDim>& tiles) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      page[i] = PageOf(problem, block, KeyOf(tiles, i));
    }
  }

  __device__ void Store(const Problem& problem, const WarpTiles<kDim>& tiles, int kv_head,
                        int32_t* rows) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      rows[threadIdx.x % 32 + 32 * i] = RowAt(problem, page[i], kv_head, KeyOf(tiles, i));
    }
  }
};

// One warp's share of a part: its scores, and kColumns columns of its weighted sums.
template <typename T, int kDim, int kColumns>
struct WarpAttention {
  using Sizes = WarpSizes<kDim>;
  static constexpr int kSegments = kDim / 8;  // of 16 bytes, of a row of keys

  const Problem& problem;
  uint32_t stages;  // in shared memory
  int first_column;
  Span span[2];  // of the two rows whose scores this lane has
  uint32_t query[kDim / 16][4];
  float acc[kColumns / 8][4];
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
    for (int n = 0; n < kColumns / 8; ++n) {
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

  // The largest masked score of each of the two rows.
  __device__ static float2 MaxOf(const float (&score)[2][4]) {
    float most[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = fmaxf(fmaxf(score[0][2 * half], score[0][2 * half + 1]),
                         fmaxf(score[1][2 * half], score[1][2 * half + 1]));
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 1));
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffff, most[half], 2));
    }
    return {most[0], most[1]};
  }

  // Exponentials of the scores; what was there is rescaled where the maximum grows.
  __device__ void Exponentials(float2 max_of, float (&score)[2][4]) {
    float kept[2];
    bool grows = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float most = fmaxf(half == 0 ? max_of.x : max_of.y, max[half]);
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
      for (int n = 0; n < kColumns / 8; ++n) {
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
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[4];
      LoadMatricesTransposed(
          b, values + Swizzled<kSegments>(lane % 16, first_column / 8 + 2 * n + lane / 16));
      Multiply<T>(acc[2 * n], a, b[0], b[1]);
      Multiply<T>(acc[2 * n + 1], a, b[2], b[3]);
    }
  }

  // Masked scores of the tile of keys in a stage, which start at `first_key`.
  __device__ void ScoreStage(int32_t first_key, int stage, float (&score)[2][4]) const {
    Scores(stages + stage * Sizes::kStageBytes, score);
    Mask(first_key, score);
  }

  // Joins that tile.
  __device__ void JoinStage(int stage, float2 max_of, float (&score)[2][4]) {
    Exponentials(max_of, score);
    AddValues(stages + stage * Sizes::kStageBytes + Sizes::kTileBytes, score);
  }

  // Leaves the maxima and sums of the rows.
  __device__ void LeaveScalars(float2* scalars, int valid_rows) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      float total = sum[half];
      total += __shfl_xor_sync(0xffffffff, total, 1);
      total += __shfl_xor_sync(0xffffffff, total, 2);
      if (r < valid_rows && lane % 4 == 0) {
        scalars[r] = {max[half], total};
      }
    }
  }

  // Leaves the weighted sums, element d of row r at piece[offset_of(r, d)].
  template <typename OffsetOf>
  __device__ void LeaveSums(float* piece, const OffsetOf& offset_of, int valid_rows) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      if (r >= valid_rows) {
        continue;
      }
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
        const int d = first_column + 8 * n + lane % 4 * 2;
        *reinterpret_cast<float2*>(piece + offset_of(r, d)) = {acc[n][2 * half],
                                                               acc[n][2 * half + 1]};
      }
    }
  }
};

}  // namespace quire::ops::attention::cuda
