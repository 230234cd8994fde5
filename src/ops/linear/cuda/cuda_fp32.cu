#include "ops/linear/cuda/cuda_fp32.h"

namespace quire::ops::linear {

namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;  // rows of x, and of w
constexpr int kStep = 8;   // elements of K at once
constexpr int kOwn = 4;    // rows of each that a thread multiplies

// Elements [k, k + kStep) of kTile rows, transposed; rows from `count` on are copies of the last.
__device__ void LoadTile(const float* rows, int64_t stride, int64_t first, int64_t count, int64_t k,
                         float (&tile)[kStep][kTile + kOwn]) {
#pragma unroll
  for (int i = threadIdx.x; i < kTile * kStep; i += kThreads) {
    const int64_t row = min(first + i / kStep, count - 1);
    tile[i % kStep][i / kStep] = rows[row * stride + k + i % kStep];
  }
}

__global__ void __launch_bounds__(kThreads) Fp32Kernel(const __grid_constant__ Matmul p) {
  __shared__ float x[kStep][kTile + kOwn];
  __shared__ float w[kStep][kTile + kOwn];
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int own_feature = threadIdx.x % (kTile / kOwn) * kOwn;
  const int own_row = threadIdx.x / (kTile / kOwn) * kOwn;
  float sum[kOwn][kOwn] = {};
  for (int64_t k = 0; k < p.k; k += kStep) {
    LoadTile(static_cast<const float*>(p.x), p.x_stride, first_row, p.m, k, x);
    LoadTile(static_cast<const float*>(p.w), p.w_stride, first_feature, p.n, k, w);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kStep; ++i) {
#pragma unroll
      for (int r = 0; r < kOwn; ++r) {
#pragma unroll
        for (int f = 0; f < kOwn; ++f) {
          sum[r][f] = fmaf(x[i][own_row + r], w[i][own_feature + f], sum[r][f]);
        }
      }
    }
    __syncthreads();
  }
  for (int r = 0; r < kOwn; ++r) {
    for (int f = 0; f < kOwn; ++f) {
      const int64_t row = first_row + own_row + r;
      const int64_t feature = first_feature + own_feature + f;
      if (row < p.m && feature < p.n) {
        float& out = static_cast<float*>(p.result)[row * p.result_stride + feature];
        out = p.accumulate ? out + sum[r][f] : sum[r][f];
      }
    }
  }
}

}  // namespace

cudaError_t RunFp32(const Matmul& matmul, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((matmul.n + kTile - 1) / kTile),
                  static_cast<unsigned>((matmul.m + kTile - 1) / kTile));
  Fp32Kernel<<<grid, kThreads, 0, stream>>>(matmul);
  return cudaGetLastError();
}

}  // namespace quire::ops::linear
