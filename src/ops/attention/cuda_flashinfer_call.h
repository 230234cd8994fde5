// How the files with FlashInfer's kernels report what went wrong: it throws, we do not.
#pragma once

#include <exception>
#include <string_view>

#include "platform/cuda/cuda_error.h"

namespace quire::ops::attention::cuda {

// Calls `body`, which returns a cudaError_t.
template <typename Body>
Status CallFlashInfer(std::string_view name, const Body& body) {
  try {
    return CudaStatus(body(), name);
  } catch (const std::exception& exception) {
    return InternalError(name, ": ", exception.what());
  }
}

}  // namespace quire::ops::attention::cuda
