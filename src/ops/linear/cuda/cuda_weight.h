// The weights that the CUDA implementations of linear read.
#pragma once

#include <vector>

#include "ops/linear/cuda/cuda_layout.h"
#include "ops/linear/linear.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::linear {

inline constexpr std::string_view kDeviceLayout = "device_rows";

class DeviceWeight final : public PackedWeight {
 public:
  // Waits for the stream. REQUIRES: sources that PackWeight() has checked; a CUDA stream.
  static Result<std::shared_ptr<const PackedWeight>> Pack(const OpContext& context,
                                                          std::span<const WeightSource> weights,
                                                          ActivationMode mode);

  const std::vector<DeviceSegment>& segments() const { return segments_; }
  ActivationMode mode() const { return mode_; }
  // Element k of the rows is feature input_order()[k] of x; null if they are the same.
  const int32_t* input_order() const { return static_cast<const int32_t*>(order_.data()); }
  size_t bytes() const override {
    return buffer_.bytes() + order_.bytes() + square_buffer_.bytes();
  }

 private:
  DeviceWeight(int64_t n, int64_t k, ActivationMode mode)
      : PackedWeight(n, k, kDeviceLayout), mode_(mode) {}

  // `squares` are those of each segment.
  Status SendSquares(CudaStream& stream, const std::vector<std::vector<float>>& squares);

  ActivationMode mode_;
  std::vector<DeviceSegment> segments_;
  Buffer buffer_;
  Buffer order_;
  Buffer square_buffer_;
};

}  // namespace quire::ops::linear
