#include "ops/moe/cuda_few_rows.cuh"

namespace quire::ops::moe {

using linear::DeviceKind;

cudaError_t RunFewRows(const GroupedProduct& product, cudaStream_t stream) {
  const DeviceKind kind = product.weights.shape.kind;
  if (linear::IsU4(kind)) {
    return RunFewRowsU4(product, stream);
  }
  switch (kind) {
    case DeviceKind::kF16: return RunFewRowsKind<DeviceKind::kF16>(product, stream);
    case DeviceKind::kBF16: return RunFewRowsKind<DeviceKind::kBF16>(product, stream);
    default: return RunFewRowsI8(product, stream);
  }
}

}  // namespace quire::ops::moe
