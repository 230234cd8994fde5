// How the files with FlashInfer's kernels call it.
#pragma once

#include <exception>
#include <string_view>

#include "platform/cuda/cuda_error.h"

namespace quire::ops::attention::cuda {

// FlashInfer's parameters have no const.
template <typename T>
T* Mutable(const T* data) {
  return const_cast<T*>(data);
}

// Calls `body`, which returns a cudaError_t. FlashInfer throws, we do not.
template <typename Body>
Status CallFlashInfer(std::string_view name, const Body& body) {
  try {
    return CudaStatus(body(), name);
  } catch (const std::exception& exception) {
    return InternalError(name, ": ", exception.what());
  }
}

}  // namespace quire::ops::attention::cuda
