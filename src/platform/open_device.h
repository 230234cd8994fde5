// Opens devices by name. What an engine or a tool knows of platforms is this table, which CMake
// makes from QUIRE_PLATFORMS (cmake/quire_platforms.cmake).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "platform/device.h"

namespace quire {

struct DeviceOptions {
  int threads = 0;                   // of a CPU; 0 for one per core that this process may use
  bool pin_threads = false;          // ThreadPool's `pinned`
  std::string instruction_set = {};  // the highest for a CPU's kernels; empty for its best
  // Where a device's libraries keep what they measured, for the next process; made if it is
  // missing. Empty for nowhere.
  std::string cache_folder = {};
};

struct OpenedDevice {
  std::unique_ptr<Device> device;
  std::string reason;  // with "auto", why it is this one; else empty
};

// Opens "PLATFORM:INDEX", or "PLATFORM" for its device 0, or "auto": device 0 of the first
// accelerator that works, else the CPU. Errors: invalid_argument (not such a name, or options that
// the device refuses), unsupported (a platform that this build lacks, a device that its kernels do
// not run on), not_found (no such device), unavailable (no driver, or one too old).
Result<OpenedDevice> OpenDevice(std::string_view name, const DeviceOptions& options = {});

struct PlatformEntry {
  PlatformKind kind;
  Result<std::unique_ptr<Device>> (*open)(int index, const DeviceOptions& options);
};

// The platforms that this build has, in the order of QUIRE_PLATFORMS.
std::vector<PlatformEntry> EnabledPlatforms();

}  // namespace quire
