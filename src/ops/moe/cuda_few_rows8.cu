// Few rows with 8-bit codes.
#include "ops/moe/cuda_few_rows.cuh"

namespace quire::ops::moe {

using linear::DeviceKind;

cudaError_t RunFewRowsI8(const GroupedProduct& product, cudaStream_t stream) {
  switch (product.weights.shape.kind) {
    case DeviceKind::kF8: return RunFewRowsKind<DeviceKind::kF8>(product, stream);
    case DeviceKind::kI8: return RunFewRowsKind<DeviceKind::kI8>(product, stream);
    case DeviceKind::kI8Half: return RunFewRowsKind<DeviceKind::kI8Half>(product, stream);
    case DeviceKind::kI8HalfMin: return RunFewRowsKind<DeviceKind::kI8HalfMin>(product, stream);
    case DeviceKind::kI8Super: return RunFewRowsKind<DeviceKind::kI8Super>(product, stream);
    default: return RunFewRowsKind<DeviceKind::kI8Sub16>(product, stream);
  }
}

}  // namespace quire::ops::moe
