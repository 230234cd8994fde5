// Many rows with 4-bit codes.
#include "ops/moe/cuda_many_rows.cuh"

namespace quire::ops::moe {

using linear::DeviceKind;

cudaError_t RunManyRowsU4(const GroupedProduct& product, const Activate* gated,
                          cudaStream_t stream) {
  switch (product.weights.shape.kind) {
    case DeviceKind::kU4Half:
      return many_rows::RunKind<DeviceKind::kU4Half>(product, gated, stream);
    case DeviceKind::kU4HalfMin:
      return many_rows::RunKind<DeviceKind::kU4HalfMin>(product, gated, stream);
    case DeviceKind::kU4Super:
      return many_rows::RunKind<DeviceKind::kU4Super>(product, gated, stream);
    default: return many_rows::RunKind<DeviceKind::kU4FloatMin>(product, gated, stream);
  }
}

}  // namespace quire::ops::moe
