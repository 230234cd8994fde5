#include "platform/open_device.h"

#include <charconv>
#include <utility>

namespace quire {

namespace {

std::string EnabledNames() {
  std::string names;
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    names += StrCat(names.empty() ? "" : ", ", PlatformName(platform.kind));
  }
  return names;
}

Result<OpenedDevice> OpenFirst(const DeviceOptions& options) {
  std::string failures;
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    if (platform.kind == PlatformKind::kCpu) {
      continue;
    }
    Result<std::unique_ptr<Device>> device = platform.open(0, options);
    if (device.ok()) {
      const std::string reason =
          StrCat(PlaceName((*device)->place()), " (", (*device)->properties().name, ") works");
      return OpenedDevice{*std::move(device), reason};
    }
    failures += StrCat(failures.empty() ? "" : "; ", device.status().message());
  }
  QUIRE_ASSIGN_OR_RETURN(OpenedDevice opened, OpenDevice("cpu", options));
  opened.reason = failures.empty() ? "this build has no platform of an accelerator" : failures;
  return opened;
}

}  // namespace

Result<OpenedDevice> OpenDevice(std::string_view name, const DeviceOptions& options) {
  if (name == "auto") {
    return OpenFirst(options);
  }
  const size_t colon = name.find(':');
  const std::string_view number = colon == std::string_view::npos ? "0" : name.substr(colon + 1);
  int index = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  if (error != std::errc() || end != number.data() + number.size() || index < 0) {
    return InvalidArgument("device '", name, "' is not PLATFORM, PLATFORM:INDEX or auto");
  }
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    if (PlatformName(platform.kind) == name.substr(0, colon)) {
      QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, platform.open(index, options));
      return OpenedDevice{std::move(device), ""};
    }
  }
  return Unsupported("device '", name, "': this build has the platforms ", EnabledNames());
}

}  // namespace quire
