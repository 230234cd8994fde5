// Tensor: a contiguous array that owns its memory.
#pragma once

#include "base/status.h"
#include "tensor/tensor_view.h"

namespace quire {

class Tensor {
 public:
  Tensor() = default;

  // Uninitialized. Errors: resource_exhausted.
  static Result<Tensor> Create(Device& device, DType dtype, const Shape& shape) {
    QUIRE_ASSIGN_OR_RETURN(Buffer buffer,
                           device.Allocate(static_cast<size_t>(BytesOf(dtype, shape.elements()))));
    const TensorView view(buffer.data(), dtype, shape, device.place());
    return Tensor(std::move(buffer), view);
  }

  const TensorView& view() const { return view_; }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  Tensor(Buffer buffer, const TensorView& view) : buffer_(std::move(buffer)), view_(view) {}

  Buffer buffer_;
  TensorView view_;
};

}  // namespace quire
