#include <cuda_fp8.h>

#include "ops/attention/cuda_general.h"
#include "ops/attention/cuda_online_softmax.cuh"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::attention::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kKeys = 32;  // of a tile: one a lane
// Outputs of a lane, for heads of up to 128 elements and for all.
constexpr int kFewOutputs = 4;
constexpr int kMaxOutputs = kMaxDim / 32;

__device__ __forceinline__ float ToFloat(__nv_fp8_e4m3 x) {
  return static_cast<float>(x);
}
using cuda::ToFloat;

template <typename T>
struct alignas(16) Vector {
  static constexpr int kElements = 16 / sizeof(T);
  T elements[kElements];
};

// One row and head of a problem, and the keys that it sees.
struct Row {
  int32_t sequence;
  int64_t index;
  int head;
  KeySpan seen;
};

// The sequence that has `row`, or -1.
__device__ int32_t SequenceOf(const Problem& problem, int64_t row) {
  if (problem.query_start == nullptr) {
    return static_cast<int32_t>(row);
  }
  int32_t low = 0;
  int32_t high = problem.num_sequences;
  while (low < high) {  // the first sequence that ends after the row
    const int32_t middle = low + (high - low) / 2;
    if (problem.query_start[middle + 1] > row) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low < problem.num_sequences && problem.query_start[low] <= row ? low : -1;
}

// Elements from the start of the keys, or values, to those of `key`; and of its scale.
struct KeyPlace {
  int64_t key;
  int64_t value;
  int64_t scale;
};

__device__ KeyPlace PlaceOf(const Problem& problem, const Row& row, int64_t key) {
  const int kv_head = row.head / problem.group();
  int64_t page = 0;
  int64_t offset = key;
  if (problem.paged()) {
    page = problem.page_table[int64_t{row.sequence} * problem.max_pages + key / problem.page_size];
    offset = key % problem.page_size;
  } else {
    offset += problem.key_start[row.sequence];
  }
  return {problem.key.strides.Offset(page, kv_head, offset),
          problem.value.strides.Offset(page, kv_head, offset),
          problem.scale_strides.Offset(page, kv_head, offset)};
}

template <typename T>
__device__ float Dot(const float* query, const T* key, int dim, bool aligned) {
  constexpr int kElements = Vector<T>::kElements;
  float sum = 0.0f;
  for (int d = 0; d < dim; d += kElements) {
    Vector<T> part;
    if (aligned) {
      part = *reinterpret_cast<const Vector<T>*>(key + d);
    } else {
      for (int i = 0; i < kElements; ++i) {
        part.elements[i] = key[d + i];
      }
    }
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      sum = fmaf(query[d + i], ToFloat(part.elements[i]), sum);
    }
  }
  return sum;
}

// The score in units of log 2.
__device__ float ScoreOf(const Problem& problem, float dot) {
  float score = dot * problem.scale;
  if (problem.logit_soft_cap > 0.0f) {
    score = problem.logit_soft_cap * tanhf(score / problem.logit_soft_cap);
  }
  return score * kLog2E;
}

// What a warp has of a row: lane l the outputs l, l + 32, ...
template <int kOutputs>
struct Piece {
  float max = MinusInfinity();
  float sum = 0.0f;
  float acc[kOutputs] = {};
};

template <typename T, int kOutputs>
__device__ void AttendTile(const Problem& problem, const Row& row, const float* query,
                           int64_t first_key, bool aligned, Piece<kOutputs>& piece) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t key = first_key + lane;
  const bool seen = key >= row.seen.begin && key < row.seen.end;
  float score = MinusInfinity();
  float value_scale = 1.0f;
  int64_t value_place = 0;
  if (seen) {
    const KeyPlace place = PlaceOf(problem, row, key);
    float dot =
        Dot(query, static_cast<const T*>(problem.key.data) + place.key, problem.key_dim, aligned);
    if (problem.key.scale != nullptr) {
      dot *= problem.key.scale[place.scale];
      value_scale = problem.value.scale[place.scale];
    }
    score = ScoreOf(problem, dot);
    value_place = place.value;
  }
  float most = score;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
  }
  const FoldFactors factors = Fold(piece.max, most);
  piece.max = factors.max;
  float weight = Exp2(score - BaseOf(factors.max));
  float sum = weight;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xffffffff, sum, step);
  }
  piece.sum = fmaf(piece.sum, factors.kept, sum);
#pragma unroll
  for (int j = 0; j < kOutputs; ++j) {
    piece.acc[j] *= factors.kept;
  }
  weight *= value_scale;
  const unsigned all_seen = __ballot_sync(0xffffffff, seen);
  for (int i = 0; i < kKeys; ++i) {
    const float w = __shfl_sync(0xffffffff, weight, i);
    const int64_t at = __shfl_sync(0xffffffff, value_place, i);
    if ((all_seen >> i & 1) == 0) {
      continue;
    }
    const T* value = static_cast<const T*>(problem.value.data) + at;
#pragma unroll
    for (int j = 0; j < kOutputs; ++j) {
      if (lane + 32 * j < problem.value_dim) {
        piece.acc[j] = fmaf(w, ToFloat(value[lane + 32 * j]), piece.acc[j]);
      }
    }
  }
}

__device__ void StoreOutput(const HeadRows& out, int64_t at, float value) {
  switch (out.dtype) {
    case DType::kF16: Store(value, static_cast<__half*>(out.data) + at); break;
    case DType::kBF16: Store(value, static_cast<__nv_bfloat16*>(out.data) + at); break;
    default: Store(value, static_cast<float*>(out.data) + at); break;
  }
}

__device__ float LoadQuery(const HeadRows& query, int64_t at) {
  switch (query.dtype) {
    case DType::kF16: return ToFloat(static_cast<const __half*>(query.data)[at]);
    case DType::kBF16: return ToFloat(static_cast<const __nv_bfloat16*>(query.data)[at]);
    default: return static_cast<const float*>(query.data)[at];
  }
}

// A block for each row and head. Tiles of keys, counted from the first key of the sequence, go
// round the warps; their results are folded in order.
template <typename T, int kOutputs>
__global__ void __launch_bounds__(kWarps * 32)
    GeneralKernel(const __grid_constant__ Problem problem, bool aligned) {
  __shared__ float query[kMaxDim];
  __shared__ float pieces[kWarps][kOutputs * 32];
  __shared__ float2 scalars[kWarps];
  Row row = {SequenceOf(problem, blockIdx.x), blockIdx.x, static_cast<int>(blockIdx.y), {}};
  if (row.sequence < 0) {
    return;
  }
  row.seen = problem.VisibleKeys(
      problem.FirstPosition(row.sequence) + row.index - problem.FirstRow(row.sequence),
      problem.Keys(row.sequence));
  for (int d = static_cast<int>(threadIdx.x); d < problem.key_dim; d += kWarps * 32) {
    query[d] = LoadQuery(problem.query, row.index * problem.query.row_stride +
                                            row.head * problem.query.head_stride + d);
  }
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  Piece<kOutputs> piece;
  for (int64_t tile = row.seen.begin / kKeys; tile * kKeys < row.seen.end; ++tile) {
    if (tile % kWarps == warp) {
      AttendTile<T, kOutputs>(problem, row, query, tile * kKeys, aligned, piece);
    }
  }
#pragma unroll
  for (int j = 0; j < kOutputs; ++j) {
    pieces[warp][lane + 32 * j] = piece.acc[j];
  }
  if (lane == 0) {
    scalars[warp] = {piece.max, piece.sum};
  }
  __syncthreads();
  for (int d = static_cast<int>(threadIdx.x); d < problem.value_dim; d += kWarps * 32) {
    float max = MinusInfinity();
    float sum = 0.0f;
    float acc = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const FoldFactors factors = Fold(max, scalars[w].x);
      max = factors.max;
      sum = FoldSum(sum, scalars[w].y, factors);
      acc = FoldSum(acc, pieces[w][d], factors);
    }
    const Finished finished = Finish(max, sum, problem.sinks, row.head);
    StoreOutput(problem.out,
                row.index * problem.out.row_stride + row.head * problem.out.head_stride + d,
                acc * finished.scale);
    if (d == 0 && problem.lse != nullptr) {
      problem.lse[row.index * problem.q_heads + row.head] = finished.lse;
    }
  }
}

template <typename T>
bool AreKeysAligned(const Problem& problem) {
  constexpr int64_t kElements = Vector<T>::kElements;
  const PageStrides& strides = problem.key.strides;
  return reinterpret_cast<uintptr_t>(problem.key.data) % 16 == 0 && strides.page % kElements == 0 &&
         strides.head % kElements == 0 && strides.token % kElements == 0;
}

template <typename T>
void Launch(const Problem& problem, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(problem.num_rows), static_cast<unsigned>(problem.q_heads));
  const bool aligned = AreKeysAligned<T>(problem);
  if (problem.value_dim <= kFewOutputs * 32) {
    GeneralKernel<T, kFewOutputs><<<grid, kWarps * 32, 0, stream>>>(problem, aligned);
  } else {
    GeneralKernel<T, kMaxOutputs><<<grid, kWarps * 32, 0, stream>>>(problem, aligned);
  }
}

}  // namespace

Status RunGeneral(const Problem& problem, cudaStream_t stream) {
  if (problem.num_rows == 0 || problem.num_sequences == 0) {
    return OkStatus();
  }
  switch (problem.kv_dtype) {
    case DType::kF16: Launch<__half>(problem, stream); break;
    case DType::kBF16: Launch<__nv_bfloat16>(problem, stream); break;
    case DType::kF8E4M3: Launch<__nv_fp8_e4m3>(problem, stream); break;
    default: Launch<float>(problem, stream); break;
  }
  return LaunchStatus("attention");
}

}  // namespace quire::ops::attention::cuda
