// KvStorage: the device memory behind the pages.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_layout.h"
#include "kv_cache/page_copy.h"
#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "platform/device.h"
#include "tensor/tensor_view.h"

namespace quire {

// Owns the arrays of all layers. Movable, not copyable. Reading views is thread-safe; who may write
// which page is the business of KvCache and the step.
class KvStorage {
 public:
  // Uninitialized memory for `num_pages` pages: a slot must be written before it is read, a scale
  // per tensor before the first slot.
  // Errors: those of KvLayout::Validate; invalid_argument (num_pages < 1); resource_exhausted if
  // the device has too little memory, naming the bytes asked for, the bytes available and the
  // tokens that would fit.
  static Result<KvStorage> Create(Device& device, const KvLayout& layout, int32_t num_pages);

  const KvLayout& layout() const { return layout_; }
  int32_t num_pages() const { return num_pages_; }
  int64_t bytes() const { return layout_.BytesPerPage() * num_pages_ + layout_.SharedBytes(); }

  // Populates some memory of the pages, those of page 0 first, which a new cache hands out first,
  // so that no step waits for the system when it is the first to use them: for idle moments, since
  // it takes up to some milliseconds. False if there is nothing left or the device has no such
  // thing.
  bool PopulateSome(Device& device);

  // REQUIRES: 0 <= layer < layout().num_layers; keys and values, not latents.
  PagedKvView Layer(int32_t layer) const;
  // REQUIRES: 0 <= layer < layout().num_layers; latents.
  PagedLatentView LatentLayer(int32_t layer) const;

  // An array of a layer as [num_pages, ...]; not defined if the pages have no part in it.
  // REQUIRES: 0 <= layer < layout().num_layers.
  TensorView Pages(int32_t layer, KvArray array) const;

 private:
  KvStorage(const KvLayout& layout, int32_t num_pages) : layout_(layout), num_pages_(num_pages) {}

  // An array of a layer as layout_.Arrays() lists them, or null if it has no such array.
  void* Array(int32_t layer, KvArray array) const;
  Place place() const { return arrays_.front().place(); }

  KvLayout layout_;
  int32_t num_pages_;
  std::vector<Buffer> arrays_;  // the arrays of layer 0, of layer 1, ...
  size_t populated_ = 0;        // slices: the first of each array, the second of each, ...
};

// Whole pages, all arrays of all layers, from one storage to another or within one, on the stream.
// Scales per tensor stay where they are. Errors: those of ops::copy_pages, which also says which
// copies are possible in one call; invalid_argument (different layouts).
Status CopyPages(const ops::OpContext& context, const KvStorage& source,
                 const KvStorage& destination, std::span<const PageCopy> copies);

}  // namespace quire
