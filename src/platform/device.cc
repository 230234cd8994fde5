#include "platform/device.h"

namespace quire {

std::string_view PlatformName(PlatformKind kind) {
  switch (kind) {
    case PlatformKind::kCpu: return "cpu";
    case PlatformKind::kCuda: return "cuda";
    case PlatformKind::kMusa: return "musa";
    case PlatformKind::kMaca: return "maca";
    case PlatformKind::kAscend: return "ascend";
  }
  return "unknown";
}

std::string PlaceName(Place place) {
  return StrCat(PlatformName(place.platform), ":", place.device);
}

}  // namespace quire
