// PageStore: a place for the content of pages beside the device's pages, in numbered slots.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace quire {

// Copies whole pages, and returns when that is done. One thread at a time, which need not be the
// engine's. A Put that fails leaves the slot without meaning.
class PageStore {
 public:
  virtual ~PageStore() = default;
  virtual int32_t num_slots() const = 0;
  // Device page to slot. Errors: io_error, resource_exhausted; the slot cannot be used.
  virtual Status Put(int32_t page, int32_t slot) = 0;
  // Slot to device page. Errors: io_error; corrupt_data if the slot does not hold what was put.
  virtual Status Get(int32_t slot, int32_t page) = 0;
};

}  // namespace quire
