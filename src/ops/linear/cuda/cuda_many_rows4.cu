// Many rows with 4-bit codes.
#include "ops/linear/cuda/cuda_many_rows.cuh"

namespace quire::ops::linear {

cudaError_t RunManyRowsU4(const SkinnyProduct& product, int k_warps, int tile_blocks,
                          float* scratch, cudaStream_t stream) {
  const auto run = [&]<DeviceKind kKind>() {
    return LaunchManyRows<kKind>(product, k_warps, tile_blocks, scratch, stream);
  };
  switch (product.weight.kind) {
    case DeviceKind::kU4Half: return run.operator()<DeviceKind::kU4Half>();
    case DeviceKind::kU4HalfMin: return run.operator()<DeviceKind::kU4HalfMin>();
    case DeviceKind::kU4Super: return run.operator()<DeviceKind::kU4Super>();
    default: return run.operator()<DeviceKind::kU4FloatMin>();
  }
}

}  // namespace quire::ops::linear
