// How the warps that load in the kernel of cuda_hopper_prefill.cuh bring rows one by one.
#pragma once

#include "ops/attention/hopper_prefill/cuda_hopper_prefill_tiles.cuh"

namespace quire::ops::attention::cuda::hopper_prefill {

constexpr uint32_t kNoRow = 0xffffffff;
constexpr int kWarpRows = kKeys / kLoadWarps;  // of a tile, that a warp brings

// Where the rows that this lane copies from lie, in units of 16 bytes: of the warp's every fourth.
struct LaneRows {
  uint32_t at[kWarpRows / 4];
};

// `offset` is of the warp's row of this lane's number.
__device__ __forceinline__ LaneRows ShareOut(uint32_t offset) {
  LaneRows rows;
#pragma unroll
  for (int i = 0; i < kWarpRows / 4; ++i) {
    rows.at[i] = __shfl_sync(0xffffffff, offset, 4 * i + threadIdx.x % 32 / 8);
  }
  return rows;
}

// Eight lanes copy a row, 16 bytes of each of its parts.
template <int kDim>
class RowCopies {
 public:
  __device__ RowCopies() {
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t row = 4 * i + threadIdx.x % 32 / 8;
      to_[i] = threadIdx.x / 32 * kWarpRows * 128 + row * 128 + (threadIdx.x % 8 ^ row) * 16;
    }
  }

  // What this lane's rows are counted from; the compiler is kept from adding it up for each.
  __device__ static uint64_t From(const void* data) {
    uint64_t from = reinterpret_cast<uint64_t>(data) + threadIdx.x % 8 * 16;
    asm volatile("" : "+l"(from));
    return from;
  }

  // The warp's rows of the tile at `to`; zeros for kNoRow.
  __device__ __forceinline__ void Copy(uint32_t to, uint64_t from, const LaneRows& rows) const {
#pragma unroll
    for (int i = 0; i < kWarpRows / 4; ++i) {
      const bool wanted = rows.at[i] != kNoRow;
      CopyRow(to, i, from + uint64_t{wanted ? rows.at[i] : 0} * 16, wanted);
    }
  }

  // The same where no row is missing.
  __device__ __forceinline__ void CopyWhole(uint32_t to, uint64_t from,
                                            const LaneRows& rows) const {
#pragma unroll
    for (int i = 0; i < kWarpRows / 4; ++i) {
      CopyRow(to, i, from + uint64_t{rows.at[i]} * 16, true);
    }
  }

 private:
  __device__ __forceinline__ void CopyRow(uint32_t to, int i, uint64_t from, bool wanted) const {
#pragma unroll
    for (int part = 0; part < kDim / 64; ++part) {
      CopyAsync(to + to_[i % 2] + i / 2 * 1024 + part * kPartBytes,
                reinterpret_cast<const void*>(from + part * 128), wanted);
    }
  }

  uint32_t to_[2];  // rows are swizzled alike after eight
};

}  // namespace quire::ops::attention::cuda::hopper_prefill
