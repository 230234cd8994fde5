#include "ops/linear/cuda/cuda_chain.h"
#include "ops/linear/cuda/cuda_skinny.cuh"

namespace quire::ops::linear {

namespace {

constexpr int kFeatures = 16;  // of a warp
constexpr int kRows = 8;       // of x

// What a lane has of 16 elements of a row: four that lie together, as both operands have them.
__device__ uint2 LoadFour(const uint16_t* row, int64_t begin, int64_t k) {
  const int64_t at = begin + 4 * (threadIdx.x % 4);
  return at < k ? *reinterpret_cast<const uint2*>(row + at) : uint2{0, 0};
}

// A warp has kFeatures x kRows outputs, which it stores or, with `differences`, compares.
template <DeviceKind kKind>
__global__ void __launch_bounds__(32)
    ChainKernel(int* differences, const __grid_constant__ Matmul p) {
  const int64_t feature = int64_t{blockIdx.x} * kFeatures + threadIdx.x / 4;
  const int64_t row = int64_t{blockIdx.y} * kRows + threadIdx.x / 4;
  const auto* w = static_cast<const uint16_t*>(p.w);
  const uint16_t* low = w + min(feature, p.n - 1) * p.w_stride;
  const uint16_t* high = w + min(feature + 8, p.n - 1) * p.w_stride;
  const uint16_t* x = static_cast<const uint16_t*>(p.x) + min(row, p.m - 1) * p.x_stride;
  float sum[4] = {};
#pragma unroll 8
  for (int64_t k = 0; k < p.k; k += 16) {
    const uint2 a = LoadFour(low, k, p.k);
    const uint2 b = LoadFour(high, k, p.k);
    const uint2 c = LoadFour(x, k, p.k);
    Multiply<kKind>(sum, a.x, b.x, a.y, b.y, c.x, c.y, sum);
  }
  for (int i = 0; i < 4; ++i) {
    const int64_t to_feature = feature + i / 2 * 8;
    const int64_t to_row = int64_t{blockIdx.y} * kRows + threadIdx.x % 4 * 2 + i % 2;
    if (to_feature >= p.n || to_row >= p.m) {
      continue;
    }
    const int64_t at = to_row * p.result_stride + to_feature;
    if (differences == nullptr) {
      StoreAs(sum[i], p.result, p.out, at);
    } else if (RoundedTo(sum[i], p.out) != LoadAs(p.result, p.out, at)) {
      atomicAdd(differences, 1);
    }
  }
}

cudaError_t Launch(const Matmul& matmul, int* differences, cudaStream_t stream) {
  const auto kernel =
      matmul.in == DType::kF16 ? ChainKernel<DeviceKind::kF16> : ChainKernel<DeviceKind::kBF16>;
  const dim3 grid(static_cast<unsigned>((matmul.n + kFeatures - 1) / kFeatures),
                  static_cast<unsigned>((matmul.m + kRows - 1) / kRows));
  kernel<<<grid, 32, 0, stream>>>(differences, matmul);
  return cudaGetLastError();
}

}  // namespace

cudaError_t RunChain(const Matmul& matmul, cudaStream_t stream) {
  return Launch(matmul, nullptr, stream);
}

cudaError_t CompareWithChain(const Matmul& matmul, int* differences, cudaStream_t stream) {
  if (const cudaError_t error = cudaMemsetAsync(differences, 0, sizeof(int), stream);
      error != cudaSuccess) {
    return error;
  }
  return Launch(matmul, differences, stream);
}

}  // namespace quire::ops::linear
