#include "platform/cuda/cuda_error.h"

#include <algorithm>
#include <charconv>

#include "platform/cuda/cuda_device.h"

namespace quire {

namespace {

// These leave the process's context unusable.
bool LosesDevice(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable: return true;
    default: return false;
  }
}

std::string VersionName(int version) {
  return StrCat(version / 1000, ".", version % 1000 / 10);
}

// "90": devices of 9.0 and later 9.x; "90a": of 9.0 alone; "100f": as "100".
bool RunsOn(std::string_view architecture, int major, int minor) {
  int number = 0;
  const char* const end = architecture.data() + architecture.size();
  const auto [suffix, error] = std::from_chars(architecture.data(), end, number);
  if (error != std::errc() || major != number / 10) {
    return false;
  }
  return suffix != end && *suffix == 'a' ? minor == number % 10 : minor >= number % 10;
}

}  // namespace

Status CudaStatus(cudaError_t error, std::string_view call) {
  if (error == cudaSuccess) {
    return OkStatus();
  }
  const bool lost = LosesDevice(error);
  const StatusCode code = error == cudaErrorMemoryAllocation ? StatusCode::kResourceExhausted
                          : lost                             ? StatusCode::kUnavailable
                                                             : StatusCode::kInternal;
  return {code, StrCat(call, " failed: ", cudaGetErrorName(error), " (", static_cast<int>(error),
                       "), ", cudaGetErrorString(error),
                       lost ? "; the device is lost to this process, restart it" : "")};
}

Status LaunchStatus(std::string_view kernel) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? OkStatus() : CudaStatus(error, StrCat("launch of ", kernel));
}

Status CheckDriver(int driver, int runtime) {
  const std::string_view name = PlatformName(kGpuPlatform);
  const std::string needed = VersionName(runtime / 1000 * 1000);
  if (driver == 0) {
    return Unavailable(name, ": no driver is loaded; install one for version ", needed,
                       " or newer");
  }
  if (driver / 1000 < runtime / 1000) {
    return Unavailable(name, ": the driver is for version ", VersionName(driver),
                       ", this build needs one for ", needed, " or newer");
  }
  return OkStatus();
}

Status CheckCapability(std::string_view device, int major, int minor,
                       std::string_view architectures) {
  for (std::string_view rest = architectures; !rest.empty();) {
    const std::string_view architecture = rest.substr(0, rest.find(','));
    if (RunsOn(architecture, major, minor)) {
      return OkStatus();
    }
    rest.remove_prefix(std::min(rest.size(), architecture.size() + 1));
  }
  return Unsupported(device, " has compute capability ", major, ".", minor,
                     "; this build has kernels for ", architectures,
                     " (CMake's QUIRE_CUDA_ARCHITECTURES)");
}

}  // namespace quire
