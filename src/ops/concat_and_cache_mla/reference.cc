#include <cstring>

#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"
#include "ops/reshape_and_cache/slots.h"
#include "tensor/element.h"

namespace quire::ops::concat_and_cache_mla {

namespace {

constexpr std::string_view kTypes = "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3";

// Writes row `token` of `rows` to the cache's elements from `to` on.
void WritePart(const PagedLatentView& cache, const TensorView& rows, int64_t token, int64_t to) {
  const int64_t from = token * rows.stride(0);
  if (rows.dtype() == cache.dtype && rows.dim(1) > 0) {  // a NaN keeps its payload
    std::memcpy(static_cast<std::byte*>(cache.data) + BytesOf(cache.dtype, to),
                static_cast<const std::byte*>(rows.data()) + BytesOf(cache.dtype, from),
                static_cast<size_t>(BytesOf(cache.dtype, rows.dim(1))));
    return;
  }
  for (int64_t d = 0; d < rows.dim(1); ++d) {
    const float value = LoadElement(rows.data(), rows.dtype(), from + d);
    StoreElement(cache.dtype == DType::kF8E4M3 ? value / *cache.scale : value, cache.data,
                 cache.dtype, to + d);
  }
}

Status RunReference(const OpContext&, const Args& args) {
  const PagedLatentView& cache = args.cache;
  for (int64_t token = 0; token < args.slot_mapping.dim(0); ++token) {
    const int64_t slot = reshape_and_cache::SlotOf(args.slot_mapping, token);
    if (slot >= 0) {  // pages are contiguous: slot s is row s
      WritePart(cache, args.latent, token, slot * cache.row_elements());
      WritePart(cache, args.rope, token, slot * cache.row_elements() + cache.latent_dim);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference",
           [](const OpContext& context, const Args&) {
             return context.stream.device().place().IsHost();
           },
           RunReference, kTypes}};
}

}  // namespace quire::ops::concat_and_cache_mla
