// Few rows with 4-bit codes.
#include "ops/linear/cuda/cuda_skinny.cuh"

namespace quire::ops::linear {

cudaError_t RunSkinnyU4(const SkinnyProduct& product, const SkinnyShape& shape,
                        cudaStream_t stream) {
  switch (product.weight.kind) {
    case DeviceKind::kU4Half: return RunSkinnyKind<DeviceKind::kU4Half>(product, shape, stream);
    case DeviceKind::kU4HalfMin:
      return RunSkinnyKind<DeviceKind::kU4HalfMin>(product, shape, stream);
    case DeviceKind::kU4Super: return RunSkinnyKind<DeviceKind::kU4Super>(product, shape, stream);
    default: return RunSkinnyKind<DeviceKind::kU4FloatMin>(product, shape, stream);
  }
}

}  // namespace quire::ops::linear
