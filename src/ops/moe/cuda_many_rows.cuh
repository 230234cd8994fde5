// The kernel of cuda_many_rows.h. Each instantiation is in one of cuda_many_rows*.cu.
//
// A block multiplies a tile of 128 rows of one expert with 256 of its features. All its threads
// bring steps of 64 elements of K to shared memory two ahead, rows by the address that their choice
// has, codes decoded to bf16, and its two warpgroups take 64 rows each. Where a gate and its up
// belong together, half of the features are gates and half are ups, so that both lie in one thread.
#pragma once

#include <flashinfer/attention/hopper.cuh>

#include "ops/act_and_mul/cuda_activated.cuh"
#include "ops/linear/cuda_codes.cuh"
#include "ops/moe/cuda_many_rows.h"
#include "ops/moe/cuda_weight_of.cuh"

namespace quire::ops::moe {

namespace many_rows {

namespace fi = flashinfer;

constexpr int kThreads = 256;
constexpr int kFeatures = 256;  // of a block, gates and ups together
constexpr int kRowBytes = 128;  // of a step: 64 elements
constexpr int kXBytes = kManyRows * kRowBytes;
constexpr int kStageBytes = kXBytes + kFeatures * kRowBytes;
constexpr int kStages = 4;
constexpr int kAhead = kStages - 2;  // a stage is written again when all are done with it
constexpr int kAlignment = 1024;     // of the pattern in which rows are swizzled
constexpr int kSharedBytes = kStages * kStageBytes + kAlignment;
constexpr int kRowsAtOnce = kThreads / 8;  // that the block's threads fetch, 16 bytes each

// Where 16-byte piece `piece` of a row lies: pieces are exchanged so that those of eight rows lie
// in different banks.
__device__ __forceinline__ uint32_t SwizzledAt(int row, int piece) {
  return static_cast<uint32_t>(row * kRowBytes + (piece ^ row % 8) * 16);
}

__device__ __forceinline__ void CopyAsync(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from)
               : "memory");
}

// A thread's 16-byte piece of every 32nd row of x.
struct XRows {
  const uint8_t* rows[kManyRows / kRowsAtOnce];
  uint32_t to;  // in a stage, of the first row

  __device__ XRows(const GroupedProduct& p, const RowTile& tile) {
    const int piece = static_cast<int>(threadIdx.x % 8);
    const int first = static_cast<int>(threadIdx.x / 8);
    to = SwizzledAt(first, piece);
#pragma unroll
    for (int i = 0; i < kManyRows / kRowsAtOnce; ++i) {
      int64_t row = tile.first_row + min(first + i * kRowsAtOnce, tile.rows - 1);
      if (p.choice_of != nullptr) {
        row = p.choice_of[row] / p.k;
      }
      rows[i] = static_cast<const uint8_t*>(p.x) + row * p.x_stride * 2 + piece * 16;
    }
  }

  // Asks for step `step`.
  __device__ void Fetch(uint32_t stage, int step) const {
#pragma unroll
    for (int i = 0; i < kManyRows / kRowsAtOnce; ++i) {
      CopyAsync(stage + to + i * kRowsAtOnce * kRowBytes, rows[i] + int64_t{step} * kRowBytes);
    }
  }
};

// Row `r` of the block's features in the weight; the last one for those beyond.
template <bool kGated>
__device__ __forceinline__ int64_t WeightRow(const linear::DeviceSegment& weight,
                                             int64_t first_feature, int r) {
  if constexpr (kGated) {
    const int64_t half = weight.features / 2;
    return min(first_feature + r % (kFeatures / 2), half - 1) + (r < kFeatures / 2 ? 0 : half);
  }
  return min(first_feature + r, weight.features - 1);
}

// The rows of the weight. After Start(), Bring<i>() brings step `step`, the i'th of its span, to
// `stage`: one call a step, in ascending order.
template <linear::DeviceKind kKind, bool kGated>
class WeightRows {
 public:
  static constexpr int kSteps = 1;  // of a span

  __device__ WeightRows(const linear::DeviceSegment& weight, int64_t first_feature) {
    const int piece = static_cast<int>(threadIdx.x % 8);
    const int first = static_cast<int>(threadIdx.x / 8);
    to_ = kXBytes + SwizzledAt(first, piece);
#pragma unroll
    for (int i = 0; i < kFeatures / kRowsAtOnce; ++i) {
      const int64_t row = WeightRow<kGated>(weight, first_feature, first + i * kRowsAtOnce);
      rows_[i] = weight.data + row * weight.RowBytes() + piece * 16;
    }
  }

  __device__ void Start(int) {}
  template <int kStep>
  __device__ void Bring(uint32_t stage, int step, int steps) {
    if (step >= steps) {
      return;
    }
#pragma unroll
    for (int i = 0; i < kFeatures / kRowsAtOnce; ++i) {
      CopyAsync(stage + to_ + i * kRowsAtOnce * kRowBytes, rows_[i] + int64_t{step} * kRowBytes);
    }
  }

 private:
  const uint8_t* rows_[kFeatures / kRowsAtOnce];
  uint32_t to_;  // in a stage, of the first row
};

// Codes: a thread has a lane's share (cuda_layout.h) of every 64th row. It reads the codes of a
// step one step before it writes their elements.
template <linear::DeviceKind kKind, bool kGated>
  requires(!linear::IsDense(kKind))
class WeightRows<kKind, kGated> {
 public:
  static constexpr int kSteps = linear::SpanOf(kKind) / 64;

  __device__ WeightRows(const linear::DeviceSegment& weight, int64_t first_feature)
      : weight_(weight), first_row_(static_cast<int>(threadIdx.x / 4)) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      rows_[i] = linear::PointersOf<kKind>(
          weight, WeightRow<kGated>(weight, first_feature, first_row_ + i * kApart));
    }
  }

  __device__ void Start(int steps) { Read<0>(0, steps); }

  template <int kStep>
  __device__ void Bring(uint32_t stage, int step, int steps) {
    if (step >= steps) {
      return;
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      Write<kStep>(stage + kXBytes, i, step / kSteps);
    }
    Read<(kStep + 1) % kSteps>(step + 1, steps);
  }

 private:
  static constexpr int kApart = kThreads / 4;
  static constexpr int kRows = kFeatures / kApart;
  static constexpr int kGroupWords = linear::IsU4(kKind) ? 1 : 2;

  template <int kStep>
  __device__ void Read(int step, int steps) {
    if (step >= steps) {
      return;
    }
    const int span = step / kSteps;
    const auto lane = static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const uint8_t* const from = rows_[i].data + int64_t{span} * linear::kSpanBytes + 16 * lane;
      if constexpr (linear::IsU4(kKind)) {
        const auto two = *reinterpret_cast<const uint2*>(from + 64 * (kStep / 2) + 8 * (kStep % 2));
        words_[i][0] = two.x;
        words_[i][1] = two.y;
      } else {
        const auto four = *reinterpret_cast<const uint4*>(from + 64 * kStep);
        words_[i][0] = four.x;
        words_[i][1] = four.y;
        words_[i][2] = four.z;
        words_[i][3] = four.w;
      }
      scales_[i].Load(weight_, rows_[i], span);
    }
  }

  // The 16 elements of row i.
  template <int kStep>
  __device__ void Write(uint32_t stage, int i, int span) const {
    const int row = first_row_ + i * kApart;
    const auto lane = static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int group = 0; group < 2; ++group) {
      uint32_t pairs[4];
      linear::DecodeEight<kKind>(words_[i] + group * kGroupWords, pairs);
      const linear::ScaleMin2 s = scales_[i].At(weight_, rows_[i], span, 2 * kStep + group);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 codes = __bfloat1622float2(linear::AsBf162(pairs[j]));
        const float scale = j < 2 ? s.scale0 : s.scale1;
        pairs[j] = linear::BitsOf(
            __floats2bfloat162_rn(fmaf(codes.x, scale, s.min), fmaf(codes.y, scale, s.min)));
      }
      if constexpr (kKind == linear::DeviceKind::kI8Sub16) {
        const uint32_t half = lane % 2 * 8;
        StoreTwo(stage + SwizzledAt(row, 4 * group + lane / 2) + half, pairs[0], pairs[1]);
        StoreTwo(stage + SwizzledAt(row, 4 * group + 2 + lane / 2) + half, pairs[2], pairs[3]);
      } else {
        const uint32_t at = stage + SwizzledAt(row, 4 * group + lane);
        StoreTwo(at, pairs[0], pairs[1]);
        StoreTwo(at + 8, pairs[2], pairs[3]);
      }
    }
  }

  __device__ static void StoreTwo(uint32_t to, uint32_t first, uint32_t second) {
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(to), "r"(first), "r"(second) : "memory");
  }

  const linear::DeviceSegment& weight_;
  int first_row_;
  linear::RowPointers rows_[kRows];
  uint32_t words_[kRows][2 * kGroupWords];
  linear::SpanScales<kKind> scales_[kRows];
};

// acc [64, 256] += the step in `stage` for the rows of this warpgroup.
template <typename T>
__device__ __forceinline__ void MultiplyStep(uint8_t* stage, int group, float (&acc)[128]) {
  using cute::SM90::GMMA::Major;
  using cute::SM90::GMMA::ScaleIn;
  using Product = fi::WGMMA_ASYNC_SS<T, float, 64, kFeatures, 16, Major::K, Major::K, ScaleIn::One,
                                     ScaleIn::One>;
  constexpr auto kSwizzle = fi::SwizzleMode::k128B;
  uint64_t x = fi::make_smem_desc<kSwizzle, 16, 8 * kRowBytes>(
      reinterpret_cast<T*>(stage + group * 64 * kRowBytes));
  uint64_t weight =
      fi::make_smem_desc<kSwizzle, 16, 8 * kRowBytes>(reinterpret_cast<T*>(stage + kXBytes));
  fi::warpgroup_fence_frag<128>(acc);
  fi::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // 16 elements are 32 bytes, 2 in a descriptor
    Product::template op<false>(x + 2 * i, weight + 2 * i, acc);
  }
  fi::warpgroup_commit_batch();
  fi::warpgroup_fence_frag<128>(acc);
}

// Of element i of a thread's sums.
__device__ __forceinline__ int RowOf(int i) {
  const auto thread = static_cast<int>(threadIdx.x);
  return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
__device__ __forceinline__ int FeatureOf(int i) {
  return i / 4 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
}

template <typename T>
__device__ void StoreGated(const Activate& a, const RowTile& tile, int64_t first_feature,
                           const float (&acc)[128]) {
#pragma unroll
  for (int i = 0; i < 64; i += 2) {
    const int64_t feature = first_feature + FeatureOf(i);
    if (RowOf(i) >= tile.rows || feature >= a.k_padded) {
      continue;
    }
    T pair[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float value = act_and_mul::Activated(acc[i + j], a.activation) * acc[i + j + 64];
      pair[j] = static_cast<T>(feature + j < a.features ? value : 0.0f);
    }
    T* const to = static_cast<T*>(a.out) + (int64_t{tile.first_row} + RowOf(i)) * a.k_padded;
    *reinterpret_cast<uint32_t*>(to + feature) = *reinterpret_cast<const uint32_t*>(pair);
  }
}

__device__ inline void StoreSums(const GroupedProduct& p, const RowTile& tile,
                                 int64_t first_feature, const float (&acc)[128]) {
  const int64_t features = p.weights.shape.features;
#pragma unroll
  for (int i = 0; i < 128; ++i) {
    const int64_t feature = first_feature + FeatureOf(i);
    if (RowOf(i) < tile.rows && feature < features) {
      p.out[(int64_t{tile.first_row} + RowOf(i)) * features + feature] = acc[i];
    }
  }
}

// The elements that meet.
template <linear::DeviceKind kKind>
using ElementOf = std::conditional_t<kKind == linear::DeviceKind::kF16, __half, __nv_bfloat16>;

// Step `step`, the kStep'th of its span.
template <int kStep, linear::DeviceKind kKind, bool kGated>
__device__ __forceinline__ void TakeStep(uint8_t* stages, int step, int steps, const RowTile& tile,
                                         const XRows& x, WeightRows<kKind, kGated>& weights,
                                         float (&acc)[128]) {
  asm volatile("cp.async.wait_group %0;" ::"n"(kAhead - 1) : "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group * 64 < tile.rows) {
    MultiplyStep<ElementOf<kKind>>(stages + step % kStages * kStageBytes, group, acc);
  }
  const int next = step + kAhead;
  const auto stage =
      static_cast<uint32_t>(__cvta_generic_to_shared(stages + next % kStages * kStageBytes));
  if (next < steps) {
    x.Fetch(stage, next);
  }
  weights.template Bring<(kStep + kAhead) % WeightRows<kKind, kGated>::kSteps>(stage, next, steps);
  asm volatile("cp.async.commit_group;" ::: "memory");
  fi::warpgroup_wait<1>();
}

template <linear::DeviceKind kKind, bool kGated>
__global__ void __launch_bounds__(kThreads, 1)
    ManyRowsKernel(const __grid_constant__ GroupedProduct p, const __grid_constant__ Activate a) {
  using Rows = WeightRows<kKind, kGated>;
  extern __shared__ uint8_t memory[];
  const RowTile tile = p.tiles[blockIdx.y];
  if (tile.expert < 0) {
    return;
  }
  const auto base = reinterpret_cast<uintptr_t>(memory);
  uint8_t* const stages = memory + (kAlignment - base % kAlignment) % kAlignment;
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(stages));
  const int64_t first_feature = int64_t{blockIdx.x} * (kGated ? kFeatures / 2 : kFeatures);
  const linear::DeviceSegment weight = WeightOf(p.weights, tile.expert);
  const XRows x(p, tile);
  Rows weights(weight, first_feature);
  const auto steps = static_cast<int>(weight.spans) * Rows::kSteps;
  static_assert(kAhead == 2);
  weights.Start(steps);
  x.Fetch(address, 0);
  weights.template Bring<0>(address, 0, steps);
  asm volatile("cp.async.commit_group;" ::: "memory");
  if (steps > 1) {
    x.Fetch(address + kStageBytes, 1);
  }
  weights.template Bring<1 % Rows::kSteps>(address + kStageBytes, 1, steps);
  asm volatile("cp.async.commit_group;" ::: "memory");
  float acc[128] = {};
  for (int step = 0; step < steps; step += Rows::kSteps) {
    TakeStep<0>(stages, step, steps, tile, x, weights, acc);
    if constexpr (Rows::kSteps >= 2) {
      TakeStep<1>(stages, step + 1, steps, tile, x, weights, acc);
    }
    if constexpr (Rows::kSteps == 4) {
      TakeStep<2>(stages, step + 2, steps, tile, x, weights, acc);
      TakeStep<3>(stages, step + 3, steps, tile, x, weights, acc);
    }
  }
  fi::warpgroup_wait<0>();
  fi::warpgroup_fence_frag<128>(acc);
  if constexpr (kGated) {
    StoreGated<ElementOf<kKind>>(a, tile, first_feature, acc);
  } else {
    StoreSums(p, tile, first_feature, acc);
  }
}

template <linear::DeviceKind kKind, bool kGated>
cudaError_t Launch(const GroupedProduct& product, const Activate& gated, cudaStream_t stream) {
  const auto kernel = ManyRowsKernel<kKind, kGated>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
      error != cudaSuccess) {
    return error;
  }
  const int64_t features = kGated ? gated.k_padded : product.weights.shape.features;
  constexpr int64_t kOfBlock = kGated ? kFeatures / 2 : kFeatures;
  const dim3 grid(static_cast<unsigned>((features + kOfBlock - 1) / kOfBlock),
                  static_cast<unsigned>(product.tile_count));
  kernel<<<grid, kThreads, kSharedBytes, stream>>>(product, gated);
  return cudaGetLastError();
}

template <linear::DeviceKind kKind>
cudaError_t RunKind(const GroupedProduct& product, const Activate* gated, cudaStream_t stream) {
  return gated != nullptr ? Launch<kKind, true>(product, *gated, stream)
                          : Launch<kKind, false>(product, {}, stream);
}

}  // namespace many_rows

cudaError_t RunManyRowsU4(const GroupedProduct& product, const Activate* gated,
                          cudaStream_t stream);
cudaError_t RunManyRowsI8(const GroupedProduct& product, const Activate* gated,
                          cudaStream_t stream);

}  // namespace quire::ops::moe
