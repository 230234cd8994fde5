#include "platform/cpu/control_group.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

namespace quire {

namespace {

// The group's path below the root, "" for the root itself or without groups of version 2.
std::string OwnGroup(const std::filesystem::path& membership) {
  constexpr std::string_view kPrefix = "0::/";
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kPrefix)) {
      return line.substr(kPrefix.size());
    }
  }
  return "";
}

// Of `group`.
size_t FileBytes(const std::filesystem::path& group) {
  size_t bytes = 0;
  std::ifstream file(group / "memory.stat");
  std::string name;
  for (size_t value = 0; file >> name >> value;) {
    bytes += name == "active_file" || name == "inactive_file" ? value : 0;
  }
  return bytes;
}

// What `group` may still take by its own limit.
size_t RoomIn(const std::filesystem::path& group, FilePages files) {
  size_t limit = 0;
  size_t used = 0;
  std::ifstream(group / "memory.max") >> limit;  // "max" or no such file: nothing is read
  std::ifstream(group / "memory.current") >> used;
  if (files == FilePages::kCountAsFree) {
    used -= std::min(used, FileBytes(group));
  }
  return limit == 0 ? std::numeric_limits<size_t>::max() : limit - std::min(limit, used);
}

}  // namespace

size_t ControlGroupRoom(FilePages files, const std::filesystem::path& root,
                        const std::filesystem::path& membership) {
  size_t room = RoomIn(root, files);
  std::filesystem::path group = root;
  for (const std::filesystem::path& part : std::filesystem::path(OwnGroup(membership))) {
    group /= part;
    room = std::min(room, RoomIn(group, files));
  }
  return room;
}

}  // namespace quire
