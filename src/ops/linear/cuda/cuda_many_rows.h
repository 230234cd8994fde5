// Products of quantized weights with any number of rows of x, with the bits of the kernel for few
// rows (cuda_skinny.h): what is computed for a row does not depend on the others.
//
// That kernel's order depends on N and K alone: the spans of K fall into `k_warps` classes, span s
// into class s % k_warps; a class is one chain in ascending order, and the sums of the classes are
// added in ascending order. The kernel here takes tiles of features and rows of x, and the classes
// one after the other, or, where tiles are too few to fill the device, a block for each.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/linear/cuda/cuda_skinny.h"

namespace quire::ops::linear {

// How many blocks share a tile: 1, or one for each class. It changes no bit. k_warps is that of
// ShapeOf(weight).
int BlocksOfTile(const DeviceSegment& weight, int64_t m, int k_warps, int compute_units);

// Enqueues `product`, of which m may be anything. `scratch` has tile_blocks * m * N floats, or none
// if tile_blocks is 1.
cudaError_t RunManyRows(const SkinnyProduct& product, int k_warps, int tile_blocks, float* scratch,
                        cudaStream_t stream);

}  // namespace quire::ops::linear
