// How the copy engine of Hopper and later GPUs finds an array (tensor maps).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "base/status.h"

namespace quire {

// cuTensorMapEncodeTiled, from the driver that runs, so that programs start without one. Errors:
// unsupported.
Result<decltype(&cuTensorMapEncodeTiled)> FindTensorMapEncode();

// Rows of bytes, one after the other.
struct ByteRows {
  const void* data = nullptr;  // aligned to 16 bytes
  int64_t rows = 0;
  int64_t row_bytes = 0;  // a multiple of 16
  int box_rows = 0;       // at most 256
  int box_bytes = 0;      // of a row, at most 128
};

// Boxes in shared memory have their rows one after the other, pieces of 16 bytes swizzled over 128;
// what is beyond the array is zero. Errors: those of the driver.
Result<CUtensorMap> MapOfBytes(const ByteRows& rows);

}  // namespace quire
