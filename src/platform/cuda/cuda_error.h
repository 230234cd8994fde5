// What calls of the CUDA runtime return, as Status.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "base/status.h"

namespace quire {

// OK for cudaSuccess. Else a Status that names `call`, the error, its number and its text:
// resource_exhausted when memory ran out, unavailable when the device is lost, which it stays for
// this process (each later call reports it again), internal for the rest.
Status CudaStatus(cudaError_t error, std::string_view call);

// The Status of the launch that this thread has just made of `kernel`.
Status LaunchStatus(std::string_view kernel);

// OK if a driver of version `driver` (as cudaDriverGetVersion says it, 0 for none) runs programs
// made with the runtime of version `runtime`. Errors: unavailable.
Status CheckDriver(int driver, int runtime);

// OK if kernels for one of `architectures` ("90a,100a", of QUIRE_CUDA_ARCHITECTURES) run on a
// device of compute capability major.minor. `device` is for the message. Errors: unsupported.
Status CheckCapability(std::string_view device, int major, int minor,
                       std::string_view architectures);

}  // namespace quire
