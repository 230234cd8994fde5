// What Linux's control groups (version 2) let this process have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace quire {

// Memory that holds files, which the system takes back when it wants some.
enum class FilePages : uint8_t { kCountAsTaken, kCountAsFree };

// Bytes that the process may still take before its control group, or one around it, reaches its
// limit, at which the system ends processes; the largest size if there is no limit or no such
// groups. `root` is where the groups are mounted, `membership` the file that names the process's
// own.
size_t ControlGroupRoom(FilePages files, const std::filesystem::path& root = "/sys/fs/cgroup",
                        const std::filesystem::path& membership = "/proc/self/cgroup");

}  // namespace quire
