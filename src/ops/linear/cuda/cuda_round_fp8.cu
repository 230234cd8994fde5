#include "ops/cuda_elements.cuh"
#include "ops/cuda_overlapped_launch.cuh"
#include "ops/linear/cuda/cuda_round_fp8.h"

namespace quire::ops::linear {

namespace {

constexpr int kThreads = 256;
constexpr int kElements = 8;             // of a thread, of each of its groups
constexpr int kLanes = 128 / kElements;  // of a group
constexpr int kAtOnce = kThreads / kLanes;
constexpr int kTurns = 4;                  // so that much is asked for at once
constexpr int kGroups = kAtOnce * kTurns;  // of a block

template <typename T>
using Eight = Pack<T, kElements>;

struct GroupScale {
  float scale;
  float inverse;
};

// The bits of the largest magnitude as fp32. Magnitudes of floats order as integers do.
__device__ uint32_t LargestBits(const Eight<float>& eight) {
  uint32_t largest = 0;
#pragma unroll
  for (const float value : eight.values) {
    largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
  }
  return largest;
}
template <typename T>
__device__ uint32_t LargestBits(const Eight<T>& eight) {
  uint32_t pairs[kElements / 2];
  memcpy(pairs, eight.values, sizeof(pairs));
  uint32_t largest = 0;
#pragma unroll
  for (const uint32_t pair : pairs) {
    largest = __vmaxu2(largest, pair & 0x7fff7fffu);
  }
  T most;
  most.bits = static_cast<uint16_t>(max(largest & 0xffff, largest >> 16));
  return __float_as_uint(Widen(most));
}

// As quantize_activations.h has it, of the group of a thread's elements.
__device__ GroupScale ScaleOf(uint32_t largest) {
#pragma unroll
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
    largest = max(largest, __shfl_xor_sync(0xffffffff, largest, lanes));
  }
  const float most = __uint_as_float(largest);
  if (largest >= 0x7f800000) {
    return {__uint_as_float(0x7fc00000), 0.0f};
  }
  return most < 0x1p-100f ? GroupScale{0.0f, 0.0f}
                          : GroupScale{__fdiv_rn(most, 448.0f), __fdiv_rn(448.0f, most)};
}

// Where in a span of 8-bit codes its eight elements from 8 * `lane` on are.
__device__ int PlaceInSpan(int lane) {
  return lane / 8 * 64 + lane % 4 * 16 + lane / 4 % 2 * 8;
}

// Two codes, each in its byte.
__device__ __nv_fp8x2_storage_t CodesOf(float a, float b, const GroupScale& scale) {
  return scale.inverse == 0.0f  // also keeps NaNs away
             ? __nv_fp8x2_storage_t{0}
             : __nv_cvt_float2_to_fp8x2(make_float2(a * scale.inverse, b * scale.inverse),
                                        __NV_SATFINITE, __NV_E4M3);
}

__device__ uint32_t Bf16Of(__nv_fp8x2_storage_t codes, float scale) {
  const float2 pair = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(codes, __NV_E4M3)));
  const __nv_bfloat162 rounded = __floats2bfloat162_rn(scale * pair.x, scale * pair.y);
  uint32_t bits;
  memcpy(&bits, &rounded, sizeof(bits));
  return bits;
}

template <typename T>
__device__ void RoundEight(const Fp8Rows& r, const Eight<T>& eight, int64_t row, int64_t span,
                           int lane) {
  const GroupScale scale = ScaleOf(LargestBits(eight));
  __nv_fp8x2_storage_t codes[kElements / 2];
#pragma unroll
  for (int i = 0; i < kElements / 2; ++i) {
    codes[i] = CodesOf(Widen(eight.values[2 * i]), Widen(eight.values[2 * i + 1]), scale);
  }
  if (span >= r.spans) {
    return;
  }
  const int64_t group = row * r.spans + span;
  if (r.codes == nullptr) {
    uint4 rounded = {Bf16Of(codes[0], scale.scale), Bf16Of(codes[1], scale.scale),
                     Bf16Of(codes[2], scale.scale), Bf16Of(codes[3], scale.scale)};
    static_cast<uint4*>(r.bf16)[group * kLanes + lane] = rounded;
    return;
  }
  uint2 words;
  memcpy(&words, codes, sizeof(words));
  *reinterpret_cast<uint2*>(r.codes + group * 128 + PlaceInSpan(lane)) = words;
  if (lane == 0) {
    r.scales[span * r.scale_stride + row] = scale.scale;
  }
}

// `row_blocks` blocks for each row.
template <typename T, bool kWhole>
__global__ void __launch_bounds__(kThreads)
    RoundKernel(const __grid_constant__ Fp8Rows r, unsigned row_blocks) {
  LetNextKernelStart();
  WaitForLastKernel();
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t row = blockIdx.x / row_blocks;
  const int64_t first = int64_t{blockIdx.x % row_blocks} * kGroups + threadIdx.x / kLanes;
  const T* const x = static_cast<const T*>(r.x) + row * r.x_stride;
  Eight<T> eights[kTurns] = {};
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int64_t at = (first + i * kAtOnce) * 128 + lane * kElements;
    if (at < r.k) {
      eights[i] = LoadPack<kWhole, kElements>(x, at, r.k);
    }
  }
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    RoundEight(r, eights[i], row, first + i * kAtOnce, lane);
  }
}

template <typename T>
cudaError_t Launch(const Fp8Rows& rows, cudaStream_t stream) {
  const bool whole = reinterpret_cast<uintptr_t>(rows.x) % 16 == 0 &&
                     rows.x_stride * sizeof(T) % 16 == 0 && rows.k % kElements == 0;
  const auto kernel = whole ? RoundKernel<T, true> : RoundKernel<T, false>;
  const auto row_blocks = static_cast<unsigned>((rows.spans + kGroups - 1) / kGroups);
  return LaunchOverlapped(kernel, true, static_cast<unsigned>(rows.m) * row_blocks, kThreads, 0,
                          stream, rows, row_blocks);
}

}  // namespace

cudaError_t RoundToFp8(const Fp8Rows& rows, cudaStream_t stream) {
  switch (rows.x_type) {
    case DType::kF16: return Launch<Half>(rows, stream);
    case DType::kBF16: return Launch<BFloat16>(rows, stream);
    default: return Launch<float>(rows, stream);
  }
}

}  // namespace quire::ops::linear
