// Few rows with 4-bit codes.
#include "ops/moe/cuda_few_rows.cuh"

namespace quire::ops::moe {

using linear::DeviceKind;

cudaError_t RunFewRowsU4(const GroupedProduct& product, cudaStream_t stream) {
  switch (product.weights.shape.kind) {
    case DeviceKind::kU4Half: return RunFewRowsKind<DeviceKind::kU4Half>(product, stream);
    case DeviceKind::kU4HalfMin: return RunFewRowsKind<DeviceKind::kU4HalfMin>(product, stream);
    case DeviceKind::kU4Super: return RunFewRowsKind<DeviceKind::kU4Super>(product, stream);
    default: return RunFewRowsKind<DeviceKind::kU4FloatMin>(product, stream);
  }
}

}  // namespace quire::ops::moe
