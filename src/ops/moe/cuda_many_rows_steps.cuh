// Steps of 64 elements of K on their way to shared memory, for the kernel of cuda_many_rows.cuh:
// rows by the address that their choice has, codes decoded to bf16.
#pragma once

#include "ops/cuda_async_copy.cuh"
#include "ops/linear/cuda/cuda_codes.cuh"
#include "ops/moe/cuda_many_rows.h"

namespace quire::ops::moe::many_rows {

constexpr int kThreads = 256;
constexpr int kFeatures = 256;  // of a block, gates and ups together
constexpr int kRowBytes = 128;  // of a step: 64 elements
constexpr int kXBytes = kManyRows * kRowBytes;
constexpr int kStageBytes = kXBytes + kFeatures * kRowBytes;  // a step in shared memory
constexpr int kRowsAtOnce = kThreads / 8;  // that the block's threads fetch, 16 bytes each

// Where 16-byte piece `piece` of a row lies: pieces are exchanged so that those of eight rows lie
// in different banks.
__device__ __forceinline__ uint32_t SwizzledAt(int row, int piece) {
  return static_cast<uint32_t>(row * kRowBytes + (piece ^ row % 8) * 16);
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

}  // namespace quire::ops::moe::many_rows
