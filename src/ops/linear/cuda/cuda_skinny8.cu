// Few rows with 8-bit codes.
#include "ops/linear/cuda/cuda_skinny.cuh"

namespace quire::ops::linear {

cudaError_t RunSkinnyI8(const SkinnyProduct& product, const SkinnyShape& shape,
                        cudaStream_t stream) {
  switch (product.weight.kind) {
    case DeviceKind::kF8: return RunSkinnyKind<DeviceKind::kF8>(product, shape, stream);
    case DeviceKind::kI8: return RunSkinnyKind<DeviceKind::kI8>(product, shape, stream);
    case DeviceKind::kI8Half: return RunSkinnyKind<DeviceKind::kI8Half>(product, shape, stream);
    case DeviceKind::kI8HalfMin:
      return RunSkinnyKind<DeviceKind::kI8HalfMin>(product, shape, stream);
    case DeviceKind::kI8Super: return RunSkinnyKind<DeviceKind::kI8Super>(product, shape, stream);
    default: return RunSkinnyKind<DeviceKind::kI8Sub16>(product, shape, stream);
  }
}

}  // namespace quire::ops::linear
