// Scratch: an array in a context's workspace.
#pragma once

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops {

// Uninitialized and contiguous, at the place of the context's stream; valid until the workspace's
// innermost Scope ends.
inline TensorView Scratch(const OpContext& context, DType dtype, const Shape& shape) {
  auto* data =
      context.workspace.Allocate<std::byte>(static_cast<size_t>(BytesOf(dtype, shape.elements())));
  return {data, dtype, shape, context.stream.device().place()};
}

}  // namespace quire::ops
