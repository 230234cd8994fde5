// From the weights of a checkpoint to rows of cuda_layout.h, in host memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/linear/cuda/cuda_layout.h"
#include "ops/linear/linear.h"

namespace quire::ops::linear {

// The extents of a segment made of `source`; its pointers and first_feature are not set. Errors:
// unsupported.
Result<DeviceSegment> PlanDeviceSegment(const WeightSource& source);

// The bytes of a segment's arrays.
int64_t DataBytes(const DeviceSegment& segment);
int64_t ScaleBytes(const DeviceSegment& segment);
int64_t SuperBytes(const DeviceSegment& segment);

// Where the packed rows go; null what the kind lacks.
struct HostRows {
  uint8_t* data = nullptr;
  uint8_t* scales = nullptr;
  uint8_t* super = nullptr;
};

// The scales of the squares of 128 x 128 elements of an f8e4m3 weight [ceil(N / 128)][stride], zero
// beyond K. Empty if elements of a square differ in their scale.
std::vector<float> SquareScales(const WeightSource& source, int64_t stride);

// Writes all rows of `source`, a segment planned as `segment`. `input_order` becomes the order of
// its input features (see Int4Groups), empty if that of x.
void PackDeviceRows(const WeightSource& source, const DeviceSegment& segment, const HostRows& rows,
                    std::vector<int32_t>& input_order);

}  // namespace quire::ops::linear
