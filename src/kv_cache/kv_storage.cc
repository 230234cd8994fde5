#include "kv_cache/kv_storage.h"

#include <utility>

namespace quire {

namespace {

Status DoesNotFit(const Device& device, const KvLayout& layout, int64_t bytes, int64_t available,
                  int32_t num_pages) {
  return ResourceExhausted("kv memory for ", int64_t{num_pages} * layout.page_size, " tokens (",
                           num_pages, " pages of ", layout.page_size, ") needs ", bytes,
                           " bytes, but ", PlaceName(device.place()), " has ", available,
                           " available; ", PagesThatFit(layout, available) * layout.page_size,
                           " tokens would fit");
}

}  // namespace

Result<KvStorage> KvStorage::Create(Device& device, const KvLayout& layout, int32_t num_pages) {
  QUIRE_RETURN_IF_ERROR(layout.Validate());
  if (num_pages < 1) {
    return InvalidArgument("kv memory of ", num_pages, " pages; ask for at least 1");
  }
  int64_t bytes = 0;
  const bool overflows = __builtin_mul_overflow(layout.BytesPerPage(), int64_t{num_pages}, &bytes);
  QUIRE_ASSIGN_OR_RETURN(const size_t available, device.AvailableMemory());
  if (overflows || bytes > static_cast<int64_t>(available)) {
    return DoesNotFit(device, layout, overflows ? INT64_MAX : bytes,
                      static_cast<int64_t>(available), num_pages);
  }
  KvStorage storage(layout, num_pages);
  for (int32_t array = 0; array < 2 * layout.num_layers; ++array) {
    Result<Buffer> buffer =
        device.Allocate(static_cast<size_t>(layout.ArrayBytesPerPage() * num_pages));
    if (!buffer.ok()) {
      return buffer.status().WithContext(
          DoesNotFit(device, layout, bytes, static_cast<int64_t>(available), num_pages).message());
    }
    storage.arrays_.push_back(*std::move(buffer));
  }
  return storage;
}

PagedKvView KvStorage::Layer(int32_t layer) const {
  QUIRE_CHECK_GE(layer, 0);
  QUIRE_CHECK_LT(layer, layout_.num_layers);
  const Buffer& k = arrays_[2 * layer];
  const Buffer& v = arrays_[2 * layer + 1];
  return {.k = k.data(),
          .v = v.data(),
          .dtype = layout_.dtype,
          .num_pages = num_pages_,
          .num_kv_heads = layout_.num_kv_heads,
          .page_size = layout_.page_size,
          .head_dim = layout_.head_dim,
          .place = k.place()};
}

}  // namespace quire
