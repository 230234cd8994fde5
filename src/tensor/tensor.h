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

  // A contiguous copy of `source`, which is in host memory and contiguous, on the stream's device;
  // made when this returns. Errors: resource_exhausted; those of Stream::Synchronize.
  static Result<Tensor> CopyOf(Stream& stream, const TensorView& source) {
    QUIRE_ASSIGN_OR_RETURN(Tensor copy, Create(stream.device(), source.dtype(), source.shape()));
    QUIRE_RETURN_IF_ERROR(stream.Copy(copy.view().data(), copy.view().place(), source.data(),
                                      source.place(), Bytes(source)));
    QUIRE_RETURN_IF_ERROR(stream.Synchronize());
    return copy;
  }

  const TensorView& view() const { return view_; }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  static size_t Bytes(const TensorView& view) {
    return static_cast<size_t>(BytesOf(view.dtype(), view.shape().elements()));
  }

  Tensor(Buffer buffer, const TensorView& view) : buffer_(std::move(buffer)), view_(view) {}

  Buffer buffer_;
  TensorView view_;
};

}  // namespace quire
