// The products and the softmax of a warpgroup's 64 rows, for the kernel of cuda_hopper_prefill.cuh.
// Of element i of a thread's scores or outputs, the row is 8 * (i / 2 % 2) below the thread's first
// and the column is i / 4 * 8 + lane % 4 * 2 + i % 2.
#pragma once

#include <flashinfer/attention/hopper.cuh>

#include <utility>

#include "ops/attention/cuda_online_softmax.cuh"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill_tiles.cuh"

namespace quire::ops::attention::cuda::hopper_prefill {

namespace fi = flashinfer;

using cute::SM90::GMMA::Major;
using cute::SM90::GMMA::ScaleOut;

// A step of 16: scores are 64 queries by 128 keys from shared memory, outputs 64 queries by kDim
// from weights in registers.
template <typename T, int kDim>
struct Products;
template <>
struct Products<__nv_bfloat16, 128> {
  using Scores = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_SS<Major::K, Major::K>;
  using Out = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_RS<Major::K, Major::MN>;
};
template <>
struct Products<__nv_bfloat16, 64> {
  using Scores = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_SS<Major::K, Major::K>;
  using Out = cute::SM90::GMMA::MMA_64x64x16_F32BF16BF16_RS<Major::K, Major::MN>;
};
template <>
struct Products<__half, 128> {
  using Scores = cute::SM90::GMMA::MMA_64x128x16_F32F16F16_SS<Major::K, Major::K>;
  using Out = cute::SM90::GMMA::MMA_64x128x16_F32F16F16_RS<Major::K, Major::MN>;
};
template <>
struct Products<__half, 64> {
  using Scores = cute::SM90::GMMA::MMA_64x128x16_F32F16F16_SS<Major::K, Major::K>;
  using Out = cute::SM90::GMMA::MMA_64x64x16_F32F16F16_RS<Major::K, Major::MN>;
};

template <typename Product, size_t... kI>
__device__ __forceinline__ void FromShared(uint64_t a, uint64_t b, float (&d)[sizeof...(kI)],
                                           ScaleOut scale, std::index_sequence<kI...>) {
  Product::fma(a, b, d[kI]..., scale);
}

template <typename Product, size_t... kI>
__device__ __forceinline__ void FromRegisters(const uint32_t* a, uint64_t b,
                                              float (&d)[sizeof...(kI)], ScaleOut scale,
                                              std::index_sequence<kI...>) {
  Product::fma(a[0], a[1], a[2], a[3], b, d[kI]..., scale);
}

// Of rows of a tile, for the products.
__device__ __forceinline__ uint64_t Descriptor(uint8_t* rows) {
  return fi::make_smem_desc<fi::SwizzleMode::k128B, kPartBytes, 8 * 128>(rows);
}

// Asks for scores [64, 2 * kCount] = queries [64, kDim] keys [2 * kCount, kDim]^T.
template <typename Product, int kDim, int kCount>
__device__ __forceinline__ void AskForScores(uint64_t query, uint64_t key,
                                             float (&scores)[kCount]) {
  fi::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < kDim / 16; ++i) {
    const int step = i / 4 * (kPartBytes / 16) + i % 4 * 2;
    FromShared<Product>(query + step, key + step, scores, i == 0 ? ScaleOut::Zero : ScaleOut::One,
                        std::make_index_sequence<kCount>());
  }
  fi::warpgroup_commit_batch();
}

// Asks for out [64, kDim] = weights [64, 4 * kCount] values [4 * kCount, kDim] + out * scale.
template <typename T, int kDim, int kCount>
__device__ __forceinline__ void AskForOut(const uint32_t (&weights)[kCount], uint64_t value,
                                          float (&out)[kDim / 2], ScaleOut scale) {
  fi::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    FromRegisters<typename Products<T, kDim>::Out>(weights + 4 * i, value + i * (16 * 128 / 16),
                                                   out, i == 0 ? scale : ScaleOut::One,
                                                   std::make_index_sequence<kDim / 2>());
  }
  fi::warpgroup_commit_batch();
}

// What a thread knows of its two rows.
struct Rows {
  float max[2] = {MinusInfinity(), MinusInfinity()};
  float sum[2] = {};  // of this thread's keys
};

// Removes what the thread's rows do not see: the first sees `end` keys of the tile, or none.
template <int kCount>
__device__ __forceinline__ void Mask(int end, float (&scores)[kCount]) {
  const int first = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i / 4 * 8 + i % 2 + first >= end + i / 2 % 2 * 8) {
      scores[i] = MinusInfinity();
    }
  }
}

// The greatest of this thread's scores of its row r, whose unit is log 2 / scale.
template <int kCount>
__device__ __forceinline__ float MaxOfRow(int r, const float (&scores)[kCount]) {
  float max = scores[2 * r];
#pragma unroll
  for (int i = 2 * r; i < kCount; i += 4) {
    max = fmaxf(max, fmaxf(scores[i], scores[i + 1]));
  }
  return max;
}

// The maxima of the thread's rows take in the scores; `base` is what weights are relative to and
// `kept` the factor of what was there. Both rows come before all exponentials, so that those of one
// do not wait for the exchange of the other's.
__device__ __forceinline__ void TakeMaxima(float scale, const float (&scores)[64], Rows& rows,
                                           float (&base)[2], float (&kept)[2]) {
  const float max_of_thread[2] = {MaxOfRow(0, scores), MaxOfRow(1, scores)};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float max = fmaxf(rows.max[r], MaxOfFour(max_of_thread[r]) * scale);
    base[r] = BaseOf(max);
    kept[r] = Exp2(rows.max[r] - base[r]);
    rows.max[r] = max;
  }
}

// Scores become weights. between() is called after kPairs of the 32 pairs of neighbours.
template <int kPairs, typename Between>
__device__ __forceinline__ void Weigh(float scale, const float (&base)[2], const float (&kept)[2],
                                      float (&scores)[64], Rows& rows, const Between& between) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 2 * r; i < 64; i += 4) {
#pragma unroll
      for (int k = i; k < i + 2; ++k) {
        scores[k] = Exp2(fmaf(scores[k], scale, -base[r]));
        sum += scores[k];
      }
      if (r * 16 + i / 4 + 1 == kPairs) {
        fi::warpgroup_fence_frag<64>(scores);
        between();
      }
    }
    rows.sum[r] = fmaf(rows.sum[r], kept[r], sum);
  }
}

}  // namespace quire::ops::attention::cuda::hopper_prefill
