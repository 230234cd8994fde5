// PageCopy: what one page gets from another.
#pragma once

#include <cstdint>

namespace quire {

// The content of page `from` belongs into page `to` as well.
struct PageCopy {
  int32_t from = 0;
  int32_t to = 0;
  bool operator==(const PageCopy&) const = default;
};

}  // namespace quire
