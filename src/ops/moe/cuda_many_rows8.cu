// Many rows with 8-bit codes.
#include "ops/moe/cuda_many_rows.cuh"

namespace quire::ops::moe {

using linear::DeviceKind;

cudaError_t RunManyRowsI8(const GroupedProduct& product, const Activate* gated,
                          cudaStream_t stream) {
  switch (product.weights.shape.kind) {
    case DeviceKind::kF8: return many_rows::RunKind<DeviceKind::kF8>(product, gated, stream);
    case DeviceKind::kI8: return many_rows::RunKind<DeviceKind::kI8>(product, gated, stream);
    case DeviceKind::kI8Half:
      return many_rows::RunKind<DeviceKind::kI8Half>(product, gated, stream);
    case DeviceKind::kI8HalfMin:
      return many_rows::RunKind<DeviceKind::kI8HalfMin>(product, gated, stream);
    case DeviceKind::kI8Super:
      return many_rows::RunKind<DeviceKind::kI8Super>(product, gated, stream);
    default: return many_rows::RunKind<DeviceKind::kI8Sub16>(product, gated, stream);
  }
}

}  // namespace quire::ops::moe
