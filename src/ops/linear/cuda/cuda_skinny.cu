#include "ops/linear/cuda/cuda_skinny.cuh"

namespace quire::ops::linear {

SkinnyShape ShapeOf(const DeviceSegment& weight) {
  constexpr int64_t kSomeFeatures = 5120;
  constexpr int64_t kManyFeatures = 16384;
  const bool dense = IsDense(weight.kind);
  if (weight.features >= kManyFeatures) {
    return {.row_tiles = dense ? 2 : 1, .k_warps = 2};
  }
  return {.row_tiles = dense && weight.features >= kSomeFeatures ? 2 : 1, .k_warps = 8};
}

int64_t NormedRowsBytes(int64_t rows, int64_t k) {
  return rows * NormedStride(k) * 2 + k * 4;
}

cudaError_t RunSkinny(const SkinnyProduct& product, const SkinnyShape& shape, cudaStream_t stream) {
  if (IsU4(product.weight.kind)) {
    return RunSkinnyU4(product, shape, stream);
  }
  return IsDense(product.weight.kind) ? RunSkinnyDense(product, shape, stream)
                                      : RunSkinnyI8(product, shape, stream);
}

cudaError_t RunSkinnyDense(const SkinnyProduct& product, const SkinnyShape& shape,
                           cudaStream_t stream) {
  return product.weight.kind == DeviceKind::kF16
             ? RunSkinnyKind<DeviceKind::kF16>(product, shape, stream)
             : RunSkinnyKind<DeviceKind::kBF16>(product, shape, stream);
}

}  // namespace quire::ops::linear
