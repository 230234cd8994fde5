// What a thread has of two rows whose weighted sums lie as tensor cores leave them, and how pieces
// of keys join in it: with the functions of cuda_online_softmax.cuh, so that all kernels have the
// same bits.
#pragma once

#include "ops/attention/cuda_online_softmax.cuh"

namespace quire::ops::attention::cuda {

struct RowScalars {
  float max[2] = {MinusInfinity(), MinusInfinity()};
  float sum[2] = {};
};

// How a piece joins what is there.
struct RowFactors {
  float kept[2];
  float joined[2];

  // `scalars` become those of both.
  __device__ __forceinline__ RowFactors(RowScalars& scalars, const RowScalars& piece) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const FoldFactors factors = Fold(scalars.max[r], piece.max[r]);
      scalars.max[r] = factors.max;
      scalars.sum[r] = FoldSum(scalars.sum[r], piece.sum[r], factors);
      kept[r] = factors.kept;
      // What saw nothing changes nothing, not even the sign of a zero.
      joined[r] = piece.max[r] == MinusInfinity() ? -0.0f : factors.joined;
    }
  }

  // Element i of a thread.
  __device__ __forceinline__ float Join(float before, float piece, int i) const {
    return FoldSum(before, piece, {0.0f, kept[i / 2 % 2], joined[i / 2 % 2]});
  }
};

// Of element i the row is the second where i / 2 is odd.
template <int kCount>
struct RowSums {
  float sums[kCount];
  RowScalars scalars;

  __device__ __forceinline__ void Clear() {
    scalars = RowScalars();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      sums[i] = 0.0f;
    }
  }

  __device__ __forceinline__ void Join(const RowSums& piece) {
    const RowFactors factors(scalars, piece.scalars);
    if (__any_sync(0xffffffff, factors.kept[0] != 1.0f || factors.kept[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        sums[i] *= factors.kept[i / 2 % 2];
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      sums[i] = fmaf(piece.sums[i], factors.joined[i / 2 % 2], sums[i]);
    }
  }

  // Becomes what is in memory joined by this.
  template <typename Memory>
  __device__ __forceinline__ void JoinTo(const Memory& memory, RowScalars before) {
    const RowFactors factors(before, scalars);
    scalars = before;
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 x = memory.Load(i / 4);
      sums[i] = factors.Join(x.x, sums[i], i);
      sums[i + 1] = factors.Join(x.y, sums[i + 1], i + 1);
      sums[i + 2] = factors.Join(x.z, sums[i + 2], i + 2);
      sums[i + 3] = factors.Join(x.w, sums[i + 3], i + 3);
    }
  }

  template <typename Memory>
  __device__ __forceinline__ void Store(const Memory& memory, RowScalars& to) const {
    to = scalars;
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      memory.Store(i / 4, {sums[i], sums[i + 1], sums[i + 2], sums[i + 3]});
    }
  }
};

}  // namespace quire::ops::attention::cuda
