// Many rows with 8-bit codes.
#include "ops/linear/cuda/cuda_many_rows.cuh"

namespace quire::ops::linear {

cudaError_t RunManyRowsI8(const SkinnyProduct& product, int k_warps, int tile_blocks,
                          float* scratch, cudaStream_t stream) {
  const auto run = [&]<DeviceKind kKind>() {
    return LaunchManyRows<kKind>(product, k_warps, tile_blocks, scratch, stream);
  };
  switch (product.weight.kind) {
    case DeviceKind::kF8: return run.operator()<DeviceKind::kF8>();
    case DeviceKind::kI8: return run.operator()<DeviceKind::kI8>();
    case DeviceKind::kI8Half: return run.operator()<DeviceKind::kI8Half>();
    case DeviceKind::kI8HalfMin: return run.operator()<DeviceKind::kI8HalfMin>();
    case DeviceKind::kI8Super: return run.operator()<DeviceKind::kI8Super>();
    default: return run.operator()<DeviceKind::kI8Sub16>();
  }
}

}  // namespace quire::ops::linear
