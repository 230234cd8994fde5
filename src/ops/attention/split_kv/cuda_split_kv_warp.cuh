// One part of a chunk of keys, which the warps of a block share: where its keys are, their way to
// shared memory, scores, weights and weighted sums.
//
// Each warp fetches and scores a tile; then each weighs all tiles and sums the values for some of
// the columns. All scores of a part are known before the first of them becomes a weight: weights
// are relative to the largest of its scores, and nothing is rescaled within it. A row of a page is
// gathered by its own address: it costs the same whatever the page size.
#pragma once

#include "ops/attention/cuda_tensor_core.cuh"
#include "ops/attention/split_kv/cuda_row_sums.cuh"
#include "ops/attention/split_kv/cuda_split_kv_work.cuh"

namespace quire::ops::attention::cuda {

inline constexpr int kPartKeys = kChunk / kParts;

template <int kDim>
struct PartSizes {
  static constexpr int kKeys = 16;                     // of a tile, the keys of one instruction
  static constexpr int kTiles = kPartKeys / kKeys;     // of a part: one for each warp
  static constexpr int kTileBytes = kKeys * kDim * 2;  // of keys, or of values
  static constexpr int kThreads = kTiles * 32;
  static constexpr int kColumns = kDim / kTiles;        // of a warp
  static constexpr int kScoreBytes = 32 * (8 + 2) * 4;  // of a tile
};

// The scores of a tile in shared memory: those of each lane, and the largest of its two rows.
struct TileScores {
  char* data;

  __device__ float4* Scores() const { return reinterpret_cast<float4*>(data) + threadIdx.x % 32; }
  __device__ float2* Max() const {
    return reinterpret_cast<float2*>(data + 2 * 32 * 16) + threadIdx.x % 32;
  }
  __device__ void Put(const float (&score)[2][4], float2 max) const {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      Scores()[32 * n] = {score[n][0], score[n][1], score[n][2], score[n][3]};
    }
    *Max() = max;
  }
  __device__ void Get(float (&score)[2][4]) const {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float4 four = Scores()[32 * n];
      score[n][0] = four.x;
      score[n][1] = four.y;
      score[n][2] = four.z;
      score[n][3] = four.w;
    }
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
  const auto units = [](int64_t stride, int32_t count) {  // the place fits 31 bits, so they do
    return static_cast<uint32_t>(stride / 8) * static_cast<uint32_t>(count);
  };
  const PageStrides& strides = problem.key.strides;
  const uint32_t at = problem.paged() ? units(strides.page, page) +
                                            units(strides.token, key & (problem.page_size - 1))
                                      : units(strides.token, page + key);
  return page < 0 ? -1 : static_cast<int32_t>(at + units(strides.head, kv_head));
}

// Whether scores need no more than a factor, which then is one with that of Exp2's units.
__device__ inline bool IsScaledLate(const Problem& problem) {
  return problem.scale > 0.0f && problem.logit_soft_cap <= 0.0f;
}

// One warp's share of a part.
template <typename T, int kDim>
struct WarpAttention {
  using Sizes = PartSizes<kDim>;
  static constexpr int kSegments = kDim / 8;  // of 16 bytes, of a row of keys

  const Problem& problem;
  int first_column;
  float factor;  // of what Mask() leaves: scores become units of log 2
  Span span[2];  // of the two rows whose scores this lane has
  uint32_t query[kDim / 16][4];
  RowSums<Sizes::kColumns / 2> part;

  __device__ explicit WarpAttention(const Problem& problem)
      : problem(problem),
        first_column(static_cast<int>(threadIdx.x / 32) * Sizes::kColumns),
        factor(IsScaledLate(problem) ? problem.scale * kLog2E : kLog2E) {}

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

  // Asks for a tile of `from`; lane i's row, and lane i + 16's, is that of key i.
  __device__ static void Fetch(const KvRows& from, int32_t row_of_lane, uint32_t to) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Sizes::kKeys * kSegments / 32; ++i) {
      const int key = (lane + 32 * i) / kSegments;
      const int segment = (lane + 32 * i) % kSegments;
      const int32_t row = __shfl_sync(0xffffffff, row_of_lane, key);
      const int64_t offset = row < 0 ? 0 : int64_t{row} * 16 + segment * 16;
      CopyAsync(to + Swizzled<kSegments>(key, segment),
                static_cast<const char*>(from.data) + offset, row >= 0);
    }
  }

  // Adds the products with the 16 keys of a tile.
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

  // Minus infinity for what the rows do not see.
  __device__ void Mask(int32_t first_key, float (&score)[2][4]) const {
    const bool is_scaled_late = IsScaledLate(problem);
    const float cap = problem.logit_soft_cap;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const auto key = static_cast<int32_t>(first_key + 8 * n + threadIdx.x % 4 * 2 + i % 2);
        float x = score[n][i];
        if (!is_scaled_late) {
          x *= problem.scale;
          x = cap > 0.0f ? cap * tanhf(x / cap) : x;
        }
        const Span& seen = span[i / 2];
        score[n][i] = key >= seen.begin && key < seen.end ? x : MinusInfinity();
      }
    }
  }

  // Scores of the 16 keys from `first_key` on.
  __device__ void ScoreTile(uint32_t keys, int32_t first_key, float (&score)[2][4]) const {
    Scores(keys, score);
    Mask(first_key, score);
  }

  // The largest of a tile's scores that this lane has, for each of the two rows.
  __device__ static float2 MaxOf(const float (&score)[2][4]) {
    return {fmaxf(fmaxf(score[0][0], score[0][1]), fmaxf(score[1][0], score[1][1])),
            fmaxf(fmaxf(score[0][2], score[0][3]), fmaxf(score[1][2], score[1][3]))};
  }

  // Sums the values of a part whose tiles' scores and values are there.
  template <typename ScoresOf, typename ValuesOf>
  __device__ void TakePart(const ScoresOf& scores_of, const ValuesOf& values_of) {
    float2 max = {MinusInfinity(), MinusInfinity()};
#pragma unroll
    for (int tile = 0; tile < Sizes::kTiles; ++tile) {
      const float2 other = *scores_of(tile).Max();
      max = {fmaxf(max.x, other.x), fmaxf(max.y, other.y)};
    }
    part.Clear();
    part.scalars.max[0] = __fmul_rn(MaxOfFour(max.x), factor);  // never one with what follows
    part.scalars.max[1] = __fmul_rn(MaxOfFour(max.y), factor);
#pragma unroll
    for (int tile = 0; tile < Sizes::kTiles; ++tile) {
      float score[2][4];
      scores_of(tile).Get(score);
      Weigh(score);
      AddValues(values_of(tile), score);
    }
    part.scalars.sum[0] = SumOfFour(part.scalars.sum[0]);
    part.scalars.sum[1] = SumOfFour(part.scalars.sum[1]);
  }

  // Scores of a tile become weights.
  __device__ void Weigh(float (&score)[2][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float base = BaseOf(part.scalars.max[half]);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float* const pair = score[n] + 2 * half;
        pair[0] = Exp2(fmaf(pair[0], factor, -base));
        pair[1] = Exp2(fmaf(pair[1], factor, -base));
        part.scalars.sum[half] += pair[0] + pair[1];
      }
    }
  }

  __device__ void AddValues(uint32_t values, const float (&weight)[2][4]) {
    const int lane = threadIdx.x % 32;
    const uint32_t a[4] = {Pack<T>(weight[0][0], weight[0][1]), Pack<T>(weight[0][2], weight[0][3]),
                           Pack<T>(weight[1][0], weight[1][1]),
                           Pack<T>(weight[1][2], weight[1][3])};
#pragma unroll
    for (int n = 0; n < Sizes::kColumns / 16; ++n) {
      uint32_t b[4];
      LoadMatricesTransposed(
          b, values + Swizzled<kSegments>(lane % 16, first_column / 8 + 2 * n + lane / 16));
      Multiply<T>(Sums(2 * n), a, b[0], b[1]);
      Multiply<T>(Sums(2 * n + 1), a, b[2], b[3]);
    }
  }

  // Those of columns 8 n on.
  __device__ float (&Sums(int n))[4] { return *reinterpret_cast<float(*)[4]>(part.sums + 4 * n); }

  // Leaves a result of this warp's columns. What saw nothing leaves no sums.
  __device__ void StorePartial(const SplitKvArgs& args, const BlockWork& block, int64_t partial,
                               const RowSums<Sizes::kColumns / 2>& result) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      const float max = result.scalars.max[half];
      if (r >= block.valid_rows()) {
        continue;
      }
      const int64_t row = PartialRow(args, partial, block.kv_head, r);
      if (first_column == 0 && lane % 4 == 0) {
        PartialScalars(args)[row] = {max, result.scalars.sum[half]};
      }
      if (max == MinusInfinity()) {
        continue;
      }
      float* const to = args.schedule.partial_data + row * kDim + first_column + lane % 4 * 2;
#pragma unroll
      for (int i = 2 * half; i < Sizes::kColumns / 2; i += 4) {
        *reinterpret_cast<float2*>(to + i / 4 * 8) = {result.sums[i], result.sums[i + 1]};
      }
    }
  }

  // Writes the outputs of this warp's columns.
  __device__ void StoreOut(const BlockWork& block,
                           const RowSums<Sizes::kColumns / 2>& result) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      if (r >= block.valid_rows()) {
        continue;
      }
      const RowPlace place = PlaceOf(problem, block.work, block.kv_head, r);
      const Finished finished =
          Finish(result.scalars.max[half], result.scalars.sum[half], problem.sinks, place.head);
      if (first_column == 0 && lane % 4 == 0 && problem.lse != nullptr) {
        problem.lse[place.row * problem.q_heads + place.head] = finished.lse;
      }
      T* const to = static_cast<T*>(problem.out.data) + place.row * problem.out.row_stride +
                    place.head * problem.out.head_stride + first_column + lane % 4 * 2;
#pragma unroll
      for (int i = 2 * half; i < Sizes::kColumns / 2; i += 4) {
        attention::cuda::Store(result.sums[i] * finished.scale, to + i / 4 * 8);
        attention::cuda::Store(result.sums[i + 1] * finished.scale, to + i / 4 * 8 + 1);
      }
    }
  }
};

}  // namespace quire::ops::attention::cuda
