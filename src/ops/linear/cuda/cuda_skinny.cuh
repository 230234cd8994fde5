// The kernel of cuda_skinny.h. Each instantiation is in one of cuda_skinny*.cu.
//
// An m16n8k16 product takes 16 output features as its rows and 8 rows of x as its columns. Which
// elements of K a lane holds does not matter as long as both operands agree, so a lane loads 16
// contiguous bytes of a weight row. The warps of a block take spans in turn; their sums meet in
// shared memory in the order of the warps.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/act_and_mul/cuda_activated.cuh"
#include "ops/cuda_overlapped_launch.cuh"
#include "ops/linear/cuda/cuda_codes.cuh"
#include "ops/linear/cuda/cuda_load_store.cuh"
#include "ops/linear/cuda/cuda_normed_rows.cuh"
#include "ops/linear/cuda/cuda_skinny.h"

namespace quire::ops::linear {

inline constexpr int kSkinnyWarps = 8;

// Spans that a warp has asked for before it needs the first: memory is busy only while much is
// asked for.
constexpr int StagesOf(DeviceKind kind, int row_tiles) {
  return IsDense(kind) ? 4 / row_tiles : 2;
}

// out = a * b + c; not volatile, so that independent products overlap.
template <DeviceKind kKind>
__device__ inline void Multiply(float (&out)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                uint32_t b0, uint32_t b1, const float (&c)[4]) {
  if constexpr (kKind == DeviceKind::kF16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%10,%11,%12,%13};"
        : "=f"(out[0]), "=f"(out[1]), "=f"(out[2]), "=f"(out[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]),
          "f"(c[3]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%10,%11,%12,%13};"
        : "=f"(out[0]), "=f"(out[1]), "=f"(out[2]), "=f"(out[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]),
          "f"(c[3]));
  }
}

// 16 bytes that nobody reads again.
__device__ inline uint4 LoadOnce(const void* from) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from));
  return value;
}

// `rows` become a lane's two of each tile: `first` and the one `half_step` after it, `tile_step`
// more in the next tile. The weight's last row stands for those beyond it.
template <DeviceKind kKind, int kRowTiles>
__device__ inline void FindRows(const DeviceSegment& w, int64_t first,
                                RowPointers (&rows)[kRowTiles][2], int64_t half_step = 8,
                                int tile_step = 16) {
  const int64_t last = w.features - 1;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows[r][half] = PointersOf<kKind>(w, min(first + tile_step * r + half_step * half, last));
    }
  }
}

// What a lane has of one span of these rows.
template <DeviceKind kKind, int kRowTiles>
struct SpanFragment {
  uint4 words[kRowTiles][2][2];
  SpanScales<kKind> scales[kRowTiles][2];

  __device__ void Load(const DeviceSegment& w, const RowPointers (&rows)[kRowTiles][2], int span) {
    const int lane = threadIdx.x % 4;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint8_t* from = rows[r][half].data + span * kSpanBytes + 16 * lane;
        words[r][half][0] = LoadOnce(from);
        words[r][half][1] = LoadOnce(from + 64);
        if constexpr (!IsDense(kKind)) {
          scales[r][half].Load(w, rows[r][half], span);
        }
      }
    }
  }
};

// Eight elements of x that belong to a lane's weights, from a group of 32.
template <DeviceKind kKind>
__device__ inline uint4 LoadX(const uint16_t* group) {
  const int lane = threadIdx.x % 4;
  if constexpr (kKind == DeviceKind::kI8Sub16) {
    const uint2 low = *reinterpret_cast<const uint2*>(group + 4 * lane);
    const uint2 high = *reinterpret_cast<const uint2*>(group + 16 + 4 * lane);
    return {low.x, low.y, high.x, high.y};
  } else {
    return *reinterpret_cast<const uint4*>(group + 8 * lane);
  }
}

template <DeviceKind kKind, int kRowTiles, int kColumnTiles>
struct SkinnySums {
  float sum[kRowTiles][kColumnTiles][4] = {};

  // `x_of(column tile, group)` are the elements of x that belong to a lane's weights.
  template <typename XOf>
  __device__ void AddSpan(const SpanFragment<kKind, kRowTiles>& span, const DeviceSegment& w,
                          const RowPointers (&rows)[kRowTiles][2], int index, const XOf& x_of) {
#pragma unroll
    for (int group = 0; group < SpanOf(kKind) / 32; ++group) {
      uint4 values[kColumnTiles];
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        values[c] = x_of(c, group);
      }
      if constexpr (IsDense(kKind)) {
        AddDense(span.words, group, values);
      } else {
        AddGroup(span, w, rows, index, group, values);
      }
    }
  }

  // To the warp's rows of memory that a block shares; one column more, so that lanes write to
  // different banks.
  __device__ void Store(float (&to)[16 * kRowTiles][8 * kColumnTiles + 1]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          to[16 * r + lane / 4 + i / 2 * 8][8 * c + lane % 4 * 2 + i % 2] = sum[r][c][i];
        }
      }
    }
  }

 private:
  // Dense: 32 elements at `words` of each row.
  __device__ void AddDense(const uint4 (&words)[kRowTiles][2][2], int j,
                           const uint4 (&x)[kColumnTiles]) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const uint4 a = words[r][0][j];
      const uint4 b = words[r][1][j];
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        Multiply<kKind>(sum[r][c], a.x, b.x, a.y, b.y, x[c].x, x[c].y, sum[r][c]);
        Multiply<kKind>(sum[r][c], a.z, b.z, a.w, b.w, x[c].z, x[c].w, sum[r][c]);
      }
    }
  }

  // Codes: their products with x are summed for a group, then scaled.
  __device__ void AddGroup(const SpanFragment<kKind, kRowTiles>& span, const DeviceSegment& w,
                           const RowPointers (&rows)[kRowTiles][2], int index, int group,
                           const uint4 (&x)[kColumnTiles]) {
    constexpr uint32_t kOnes = 0x3f803f80u;
    constexpr int kGroupWords = IsU4(kKind) ? 1 : 2;
    const float none[4] = {};
    float x_sum[kColumnTiles][4];
    if constexpr (HasMin(kKind)) {
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        Multiply<kKind>(x_sum[c], kOnes, kOnes, kOnes, kOnes, x[c].x, x[c].y, none);
        Multiply<kKind>(x_sum[c], kOnes, kOnes, kOnes, kOnes, x[c].z, x[c].w, x_sum[c]);
      }
    }
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      uint32_t a[4];
      uint32_t b[4];
      const int first = group * kGroupWords;
      DecodeEight<kKind>(&span.words[r][0][first / 4].x + first % 4, a);
      DecodeEight<kKind>(&span.words[r][1][first / 4].x + first % 4, b);
      const ScaleMin2 s[2] = {span.scales[r][0].At(w, rows[r][0], index, group),
                              span.scales[r][1].At(w, rows[r][1], index, group)};
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        float part[4];
        Multiply<kKind>(part, a[0], b[0], a[1], b[1], x[c].x, x[c].y, none);
        if constexpr (kKind == DeviceKind::kI8Sub16) {
          Scale(part, s[0].scale0, s[1].scale0, sum[r][c]);
          Multiply<kKind>(part, a[2], b[2], a[3], b[3], x[c].z, x[c].w, none);
        } else {
          Multiply<kKind>(part, a[2], b[2], a[3], b[3], x[c].z, x[c].w, part);
        }
        Scale(part, s[0].scale1, s[1].scale1, sum[r][c]);
        if constexpr (HasMin(kKind)) {
          Scale(x_sum[c], s[0].min, s[1].min, sum[r][c]);
        }
      }
    }
  }

  __device__ static void Scale(const float (&part)[4], float first, float second, float (&out)[4]) {
    out[0] = fmaf(part[0], first, out[0]);
    out[1] = fmaf(part[1], first, out[1]);
    out[2] = fmaf(part[2], second, out[2]);
    out[3] = fmaf(part[3], second, out[3]);
  }
};

// Asks for the first of a warp's spans, which are first, first + step, ... below `spans`.
template <DeviceKind kKind, int kRowTiles, int kStages>
__device__ __forceinline__ void LoadFirst(const DeviceSegment& w,
                                          const RowPointers (&rows)[kRowTiles][2], int first,
                                          int step, int spans,
                                          SpanFragment<kKind, kRowTiles> (&fragments)[kStages]) {
#pragma unroll
  for (int stage = 0; stage < kStages; ++stage) {
    if (first + stage * step < spans) {
      fragments[stage].Load(w, rows, first + stage * step);
    }
  }
}

// Adds all of them to `sums`, with x[c] as a lane's row of x of column tile c.
template <DeviceKind kKind, int kRowTiles, int kStages, int kColumnTiles>
__device__ __forceinline__ void AddSpans(const DeviceSegment& w,
                                         const RowPointers (&rows)[kRowTiles][2], int first,
                                         int step, int spans,
                                         SpanFragment<kKind, kRowTiles> (&fragments)[kStages],
                                         const uint16_t* const (&x)[kColumnTiles],
                                         SkinnySums<kKind, kRowTiles, kColumnTiles>& sums) {
  for (int base = first; base < spans; base += kStages * step) {
#pragma unroll
    for (int stage = 0; stage < kStages; ++stage) {
      const int span = base + stage * step;
      if (span < spans) {
        sums.AddSpan(fragments[stage], w, rows, span, [&](int c, int group) {
          return LoadX<kKind>(x[c] + span * SpanOf(kKind) + 32 * group);
        });
      }
      if (span + kStages * step < spans) {
        fragments[stage].Load(w, rows, span + kStages * step);
      }
    }
  }
}

// What the k_warps warps that share `row` of a block have of it, added in their order.
template <int kRows, int kColumns>
__device__ __forceinline__ float SumOfWarps(const float (&partial)[kSkinnyWarps][kRows][kColumns],
                                            int k_warps, int row, int column) {
  float sum = 0.0f;
  for (int warp = 0; warp < k_warps; ++warp) {
    sum += partial[row / kRows * k_warps + warp][row % kRows][column];
  }
  return sum;
}

// What an output is added to.
__device__ inline float LoadBefore(const SkinnyProduct& p, int64_t feature, int64_t column) {
  return p.accumulate ? LoadAs(p.out, p.out_type, column * p.out_stride + feature) : 0.0f;
}

__device__ inline void StoreSum(const SkinnyProduct& p, float sum, int64_t feature, int64_t column,
                                float before) {
  sum += p.bias != nullptr ? p.bias[feature] : 0.0f;
  if (p.accumulate) {
    sum += before;
  }
  StoreAs(sum, p.out, p.out_type, column * p.out_stride + feature);
}

// Outputs of a block: `block_rows` rows of the weight from `first` on, of which `partial` will have
// the sums, for each row of x.
class BlockOutputs {
 public:
  // Reads what a thread's first output is added to: nothing waits for it at the end.
  __device__ BlockOutputs(const SkinnyProduct& p, int block_rows, int64_t first)
      : p_(p), block_rows_(block_rows), first_(first) {
    if (const int i = static_cast<int>(threadIdx.x); IsValid(i)) {
      before_ = LoadBefore(p, FeatureOf(i), i / block_rows);
    }
  }

  template <int kRows, int kColumns>
  __device__ void Store(const float (&partial)[kSkinnyWarps][kRows][kColumns], int k_warps) const {
    const auto own = static_cast<int>(threadIdx.x);
    for (int i = own; i < block_rows_ * p_.m; i += 32 * kSkinnyWarps) {
      if (!IsValid(i)) {
        continue;
      }
      const int64_t feature = FeatureOf(i);
      const int column = i / block_rows_;
      StoreSum(p_, SumOfWarps(partial, k_warps, i % block_rows_, column), feature, column,
               i == own ? before_ : LoadBefore(p_, feature, column));
    }
  }

 private:
  __device__ int64_t FeatureOf(int i) const { return first_ + i % block_rows_; }
  __device__ bool IsValid(int i) const {
    return i < block_rows_ * p_.m && FeatureOf(i) < p_.weight.features;
  }

  const SkinnyProduct& p_;
  int block_rows_;
  int64_t first_;
  float before_ = 0.0f;
};

// Stores a block's outputs where eight rows of up follow eight of gate, outputs from `first` on.
template <int kRows, int kColumns>
__device__ __forceinline__ void StoreGated(const SkinnyProduct& p,
                                           const float (&partial)[kSkinnyWarps][kRows][kColumns],
                                           int k_warps, int block_rows, int64_t first) {
  const int64_t outputs = p.weight.features / 2;
  const int block_outputs = block_rows / 2;
  for (int i = threadIdx.x; i < block_outputs * p.m; i += 32 * kSkinnyWarps) {
    const int own = i % block_outputs;
    const int column = i / block_outputs;
    const int64_t feature = first + own;
    if (feature >= outputs) {
      continue;
    }
    const int row = own / 8 * 16 + own % 8;
    float gate = SumOfWarps(partial, k_warps, row, column);
    float up = SumOfWarps(partial, k_warps, row + 8, column);
    if (p.bias != nullptr) {
      gate += p.bias[feature];
      up += p.bias[outputs + feature];
    }
    const float value = act_and_mul::Activated(RoundedTo(gate, p.out_type), p.activation) *
                        RoundedTo(up, p.out_type);
    StoreAs(value, p.out, p.out_type, column * p.out_stride + feature);
  }
}

template <DeviceKind kKind, int kRowTiles, int kColumnTiles, bool kNormed, bool kGated>
__global__ void __launch_bounds__(32 * kSkinnyWarps, 2)
    SkinnyKernel(const __grid_constant__ SkinnyProduct p, int k_warps, int norm_groups) {
  constexpr int kColumns = 8 * kColumnTiles;
  constexpr int kTileRows = 16 * kRowTiles;
  __shared__ float partial[kSkinnyWarps][kTileRows][kColumns + 1];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int block_rows = kSkinnyWarps / k_warps * kTileRows;
  const int64_t block_first =
      static_cast<int64_t>(blockIdx.x) * (kGated ? block_rows / 2 : block_rows);
  const int warp_rows = warp / k_warps * kTileRows;
  RowPointers rows[kRowTiles][2];
  if constexpr (kGated) {
    FindRows<kKind>(p.weight, block_first + warp_rows / 2 + lane / 4, rows, p.weight.features / 2,
                    8);
  } else {
    FindRows<kKind>(p.weight, block_first + warp_rows + lane / 4, rows);
  }
  constexpr int kStages = StagesOf(kKind, kRowTiles);
  const int first = warp % k_warps;
  const auto spans = static_cast<int>(p.weight.spans);
  SpanFragment<kKind, kRowTiles> fragments[kStages];
  LoadFirst(p.weight, rows, first, k_warps, spans, fragments);
  LetNextKernelStart();
  const uint16_t* x[kColumnTiles];
  if constexpr (kNormed) {
    static_assert(kColumnTiles == 1);
    x[0] = NormedRow<kKind>(p, norm_groups, min(lane / 4, p.m - 1));
  } else {
    WaitForLastKernel();
#pragma unroll
    for (int c = 0; c < kColumnTiles; ++c) {
      const int column = min(8 * c + lane / 4, p.m - 1);  // what has no row is not stored
      x[c] = static_cast<const uint16_t*>(p.x) + column * p.x_stride;
    }
  }
  const BlockOutputs outputs(p, block_rows, block_first);
  SkinnySums<kKind, kRowTiles, kColumnTiles> sums;
  AddSpans(p.weight, rows, first, k_warps, spans, fragments, x, sums);
  sums.Store(partial[warp]);
  __syncthreads();
  if constexpr (kGated) {
    StoreGated(p, partial, k_warps, block_rows, block_first);
  } else {
    outputs.Store(partial, k_warps);
  }
}

template <DeviceKind kKind, int kRowTiles, int kColumnTiles, bool kNormed, bool kGated>
cudaError_t LaunchSkinny(const SkinnyProduct& product, int k_warps, cudaStream_t stream) {
  const int64_t rows = kSkinnyWarps / k_warps * 16 * kRowTiles;
  const auto kernel = SkinnyKernel<kKind, kRowTiles, kColumnTiles, kNormed, kGated>;
  size_t shared_bytes = 0;
  int norm_groups = 0;
  if constexpr (kNormed) {
    const int64_t k = product.weight.spans * SpanOf(kKind);
    norm_groups = (RowGroups(product.m, k / kPackOf<Half>, rms_norm::kCached).threads + 31) / 32;
    shared_bytes = static_cast<size_t>(NormedRowsBytes(product.m, k));
    if (const cudaError_t error = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxNormedRowsBytes);
        error != cudaSuccess) {
      return error;
    }
  }
  const auto blocks = static_cast<unsigned>((product.weight.features + rows - 1) / rows);
  return LaunchOverlapped(kernel, true, blocks, 32 * kSkinnyWarps, shared_bytes, stream, product,
                          k_warps, norm_groups);
}

template <DeviceKind kKind, int kRowTiles, bool kGated>
cudaError_t RunSkinnyTiles(const SkinnyProduct& product, int k_warps, cudaStream_t stream) {
  if (product.norm.weight != nullptr) {
    return LaunchSkinny<kKind, kRowTiles, 1, true, kGated>(product, k_warps, stream);
  }
  return product.m <= 8
             ? LaunchSkinny<kKind, kRowTiles, 1, false, kGated>(product, k_warps, stream)
             : LaunchSkinny<kKind, kRowTiles, 2, false, kGated>(product, k_warps, stream);
}

template <DeviceKind kKind>
cudaError_t RunSkinnyKind(const SkinnyProduct& product, const SkinnyShape& shape,
                          cudaStream_t stream) {
  if constexpr (IsDense(kKind)) {
    if (shape.row_tiles == 2) {
      return product.gated ? RunSkinnyTiles<kKind, 2, true>(product, shape.k_warps, stream)
                           : RunSkinnyTiles<kKind, 2, false>(product, shape.k_warps, stream);
    }
  }
  return product.gated ? RunSkinnyTiles<kKind, 1, true>(product, shape.k_warps, stream)
                       : RunSkinnyTiles<kKind, 1, false>(product, shape.k_warps, stream);
}

cudaError_t RunSkinnyDense(const SkinnyProduct& product, const SkinnyShape& shape,
                           cudaStream_t stream);
cudaError_t RunSkinnyU4(const SkinnyProduct& product, const SkinnyShape& shape,
                        cudaStream_t stream);
cudaError_t RunSkinnyI8(const SkinnyProduct& product, const SkinnyShape& shape,
                        cudaStream_t stream);

}  // namespace quire::ops::linear
