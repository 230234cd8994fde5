// How the copy engine of Hopper and later GPUs finds an array (tensor maps).
#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>

#include "base/status.h"

namespace quire {

// An axis of an array, and of the boxes that are brought of it.
struct MapAxis {
  int64_t size = 1;
  int64_t stride_bytes = 0;  // between neighbours, a multiple of 16; unused of the first axis
  int box = 1;               // how many of it are in a box, at most 256
};

// Rows after which the pattern of swizzled boxes repeats: boxes that are to lie one after another
// in shared memory have whole multiples of them.
inline constexpr int kSwizzledRows = 8;

// An array from `data` (aligned to 16 bytes) on, of two to five axes, that of neighbours first.
// Boxes in shared memory have their rows of the first axis, of at most 128 bytes, one after the
// other, pieces of 16 bytes swizzled over 128; what is beyond the array is zero. Errors: those of
// the driver, unsupported if it is too old.
Result<CUtensorMap> MapOf(const void* data, CUtensorMapDataType type,
                          std::span<const MapAxis> axes);

// Rows of bytes, one after the other.
struct ByteRows {
  const void* data = nullptr;
  int64_t rows = 0;
  int64_t row_bytes = 0;  // a multiple of 16
  int box_rows = 0;
  int box_bytes = 0;  // of a row
};

Result<CUtensorMap> MapOfBytes(const ByteRows& rows);

}  // namespace quire
