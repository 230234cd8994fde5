// The rule for the size of a page, for the operators that read or write pages.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace quire::ops {

// For the operator `op`: OK if `page_size` tokens are a power of two, else invalid_argument.
inline Status CheckPageSize(std::string_view op, int32_t page_size) {
  if (page_size < 1 || !std::has_single_bit(static_cast<uint32_t>(page_size))) {
    return InvalidArgument(op, ": page size ", page_size,
                           " is not a power of two; use 1, 2, 4, 8, ...");
  }
  return OkStatus();
}

}  // namespace quire::ops
