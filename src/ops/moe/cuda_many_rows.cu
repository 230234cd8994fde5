// f16 and bf16.
#include "ops/moe/cuda_many_rows.cuh"

namespace quire::ops::moe {

using linear::DeviceKind;

cudaError_t RunManyRows(const GroupedProduct& product, const Activate* gated, cudaStream_t stream) {
  const DeviceKind kind = product.weights.shape.kind;
  if (linear::IsU4(kind)) {
    return RunManyRowsU4(product, gated, stream);
  }
  switch (kind) {
    case DeviceKind::kF16: return many_rows::RunKind<DeviceKind::kF16>(product, gated, stream);
    case DeviceKind::kBF16: return many_rows::RunKind<DeviceKind::kBF16>(product, gated, stream);
    default: return RunManyRowsI8(product, gated, stream);
  }
}

}  // namespace quire::ops::moe
