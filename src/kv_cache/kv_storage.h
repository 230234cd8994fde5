// KvStorage: the device memory behind the pages.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_layout.h"
#include "ops/paged_kv_view.h"
#include "platform/device.h"

namespace quire {

// Owns the K and V arrays of all layers. Movable, not copyable. Reading views is thread-safe; who
// may write which page is the business of KvCache and the step.
class KvStorage {
 public:
  // Uninitialized memory for `num_pages` pages: a slot must be written before it is read.
  // Errors: those of KvLayout::Validate; invalid_argument (num_pages < 1); resource_exhausted if
  // the device has too little memory, naming the bytes asked for, the bytes available and the
  // tokens that would fit.
  static Result<KvStorage> Create(Device& device, const KvLayout& layout, int32_t num_pages);

  const KvLayout& layout() const { return layout_; }
  int32_t num_pages() const { return num_pages_; }
  int64_t bytes() const { return layout_.BytesPerPage() * num_pages_; }

  // REQUIRES: 0 <= layer < layout().num_layers.
  PagedKvView Layer(int32_t layer) const;

 private:
  KvStorage(const KvLayout& layout, int32_t num_pages) : layout_(layout), num_pages_(num_pages) {}

  KvLayout layout_;
  int32_t num_pages_;
  std::vector<Buffer> arrays_;  // K of layer 0, V of layer 0, K of layer 1, ...
};

}  // namespace quire
