#include "ops/linear/cuda/cuda_many_rows.cuh"

namespace quire::ops::linear {

namespace {

constexpr int kThreads = 256;

// out = the sums of the classes, in order.
__global__ void __launch_bounds__(kThreads)
    SumClassesKernel(const __grid_constant__ SkinnyProduct p, int classes, const float* sums) {
  const int64_t feature = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t column = blockIdx.y;
  if (feature >= p.weight.features) {
    return;
  }
  float sum = 0.0f;
  for (int k_class = 0; k_class < classes; ++k_class) {
    sum += sums[(k_class * int64_t{p.m} + column) * p.weight.features + feature];
  }
  StoreSum(p, sum, feature, column, LoadBefore(p, feature, column));
}

}  // namespace

int BlocksOfTile(const DeviceSegment& weight, int64_t m, int k_warps, int compute_units) {
  const int64_t features = (weight.features + kManyFeatures - 1) / kManyFeatures;
  const int64_t columns = (m + kManyColumns - 1) / kManyColumns;
  return 2 * features * columns <= compute_units
             ? static_cast<int>(std::min<int64_t>(k_warps, weight.spans))
             : 1;
}

cudaError_t RunManyRows(const SkinnyProduct& product, int k_warps, int tile_blocks, float* scratch,
                        cudaStream_t stream) {
  const cudaError_t error = IsU4(product.weight.kind)
                                ? RunManyRowsU4(product, k_warps, tile_blocks, scratch, stream)
                                : RunManyRowsI8(product, k_warps, tile_blocks, scratch, stream);
  if (error != cudaSuccess || tile_blocks == 1) {
    return error;
  }
  const dim3 grid(static_cast<unsigned>((product.weight.features + kThreads - 1) / kThreads),
                  static_cast<unsigned>(product.m));
  SumClassesKernel<<<grid, kThreads, 0, stream>>>(product, tile_blocks, scratch);
  return cudaGetLastError();
}

}  // namespace quire::ops::linear
