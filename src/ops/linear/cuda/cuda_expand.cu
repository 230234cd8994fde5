#include "ops/linear/cuda/cuda_codes.cuh"
#include "ops/linear/cuda/cuda_expand.h"
#include "ops/linear/cuda/cuda_load_store.cuh"

namespace quire::ops::linear {

namespace {

constexpr int kThreads = 256;

__device__ void StoreEight(const float (&values)[8], bool sub16, int lane, float* out) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    out[sub16 ? 4 * lane + i % 4 + i / 4 * 16 : 8 * lane + i] = values[i];
  }
}

__device__ void StoreEight(const float (&values)[8], bool sub16, int lane, __nv_bfloat16* out) {
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[i] = BitsOf(__floats2bfloat162_rn(values[2 * i], values[2 * i + 1]));
  }
  if (sub16) {
    *reinterpret_cast<uint2*>(out + 4 * lane) = {pairs[0], pairs[1]};
    *reinterpret_cast<uint2*>(out + 4 * lane + 16) = {pairs[2], pairs[3]};
  } else {
    *reinterpret_cast<uint4*>(out + 8 * lane) = {pairs[0], pairs[1], pairs[2], pairs[3]};
  }
}

// A thread expands a lane's 8 elements of every group of a span.
template <DeviceKind kKind, typename T>
__global__ void __launch_bounds__(kThreads)
    ExpandKernel(const __grid_constant__ DeviceSegment w, int64_t first, int64_t lanes, T* out) {
  constexpr int kGroups = SpanOf(kKind) / 32;
  constexpr int kGroupWords = IsU4(kKind) ? 1 : 2;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= lanes) {
    return;
  }
  const int lane = static_cast<int>(index % 4);
  const auto span = static_cast<int>(index / 4 % w.spans);
  const int64_t row = index / 4 / w.spans;
  const RowPointers pointers = PointersOf<kKind>(w, first + row);
  const uint8_t* from = pointers.data + span * kSpanBytes + 16 * lane;
  uint4 words[2] = {*reinterpret_cast<const uint4*>(from),
                    *reinterpret_cast<const uint4*>(from + 64)};
  SpanScales<kKind> scales;
  scales.Load(w, pointers, span);
  T* to = out + (row * w.spans + span) * SpanOf(kKind);
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    uint32_t pairs[4];
    const int at = group * kGroupWords;
    DecodeEight<kKind>(&words[at / 4].x + at % 4, pairs);
    const ScaleMin2 s = scales.At(w, pointers, span, group);
    float values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float2 pair = __bfloat1622float2(AsBf162(pairs[i / 2]));
      values[i] = fmaf(i % 2 == 0 ? pair.x : pair.y, i < 4 ? s.scale0 : s.scale1, s.min);
    }
    StoreEight(values, kKind == DeviceKind::kI8Sub16, lane, to + 32 * group);
  }
}

template <DeviceKind kKind>
void Expand(const DeviceSegment& weight, int64_t first, int64_t rows, DType type, void* out,
            cudaStream_t stream) {
  const int64_t lanes = rows * weight.spans * 4;
  const auto blocks = static_cast<unsigned>((lanes + kThreads - 1) / kThreads);
  if (type == DType::kF32) {
    ExpandKernel<kKind>
        <<<blocks, kThreads, 0, stream>>>(weight, first, lanes, static_cast<float*>(out));
  } else {
    ExpandKernel<kKind>
        <<<blocks, kThreads, 0, stream>>>(weight, first, lanes, static_cast<__nv_bfloat16*>(out));
  }
}

// A block copies 8 * kThreads elements of a row.
__global__ void __launch_bounds__(kThreads) CopyKernel(const __grid_constant__ RowCopy c) {
  const int64_t row = blockIdx.y;
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (begin >= c.k_padded) {
    return;
  }
#pragma unroll
  for (int64_t i = begin; i < begin + 8; ++i) {
    float value = 0.0f;
    if (i < c.k) {
      value = LoadAs(c.x, c.x_type, row * c.x_stride + (c.order != nullptr ? c.order[i] : i));
    }
    StoreAs(value, c.out, c.out_type, row * c.k_padded + i);
  }
}

__global__ void __launch_bounds__(kThreads) StoreKernel(const __grid_constant__ RowSums r) {
  const int64_t row = blockIdx.y;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= r.n) {
    return;
  }
  float sum = r.sums[row * r.sums_stride + column] + (r.bias != nullptr ? r.bias[column] : 0.0f);
  const int64_t at = row * r.out_stride + column;
  if (r.accumulate) {
    sum += LoadAs(r.out, r.out_type, at);
  }
  StoreAs(sum, r.out, r.out_type, at);
}

dim3 GridOf(int64_t columns, int64_t rows) {
  return {static_cast<unsigned>((columns + kThreads - 1) / kThreads), static_cast<unsigned>(rows)};
}

}  // namespace

cudaError_t ExpandRows(const DeviceSegment& weight, int64_t first, int64_t rows, DType type,
                       void* out, cudaStream_t stream) {
  switch (weight.kind) {
    case DeviceKind::kF8: Expand<DeviceKind::kF8>(weight, first, rows, type, out, stream); break;
    case DeviceKind::kI8: Expand<DeviceKind::kI8>(weight, first, rows, type, out, stream); break;
    case DeviceKind::kU4Half:
      Expand<DeviceKind::kU4Half>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kU4HalfMin:
      Expand<DeviceKind::kU4HalfMin>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kU4Super:
      Expand<DeviceKind::kU4Super>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kU4FloatMin:
      Expand<DeviceKind::kU4FloatMin>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kI8Half:
      Expand<DeviceKind::kI8Half>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kI8HalfMin:
      Expand<DeviceKind::kI8HalfMin>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kI8Super:
      Expand<DeviceKind::kI8Super>(weight, first, rows, type, out, stream);
      break;
    case DeviceKind::kI8Sub16:
      Expand<DeviceKind::kI8Sub16>(weight, first, rows, type, out, stream);
      break;
    default: return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

cudaError_t CopyRows(const RowCopy& copy, cudaStream_t stream) {
  CopyKernel<<<GridOf(copy.k_padded / 8, copy.m), kThreads, 0, stream>>>(copy);
  return cudaGetLastError();
}

cudaError_t StoreSums(const RowSums& rows, cudaStream_t stream) {
  StoreKernel<<<GridOf(rows.n, rows.m), kThreads, 0, stream>>>(rows);
  return cudaGetLastError();
}

}  // namespace quire::ops::linear
