#include <cmath>
#include <cstring>

#include "ops/reshape_and_cache/quantize.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"
#include "ops/reshape_and_cache/slots.h"
#include "tensor/element.h"

namespace quire::ops::reshape_and_cache {

namespace {

constexpr std::string_view kTypes = "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3";

float LargestFinite(const TensorView& rows, int64_t first, int64_t elements) {
  float largest = 0;
  for (int64_t d = 0; d < elements; ++d) {
    const float magnitude = std::abs(LoadElement(rows.data(), rows.dtype(), first + d));
    if (std::isfinite(magnitude) && magnitude > largest) {
      largest = magnitude;
    }
  }
  return largest;
}

// Writes elements [from, from + elements) of `rows` to element `to` of `pages`.
void WriteRow(const TensorView& rows, int64_t from, int64_t elements, void* pages, DType dtype,
              int64_t to, float scale) {
  if (rows.dtype() == dtype) {  // a NaN keeps its payload
    std::memcpy(static_cast<std::byte*>(pages) + BytesOf(dtype, to),
                static_cast<const std::byte*>(rows.data()) + BytesOf(dtype, from),
                static_cast<size_t>(BytesOf(dtype, elements)));
    return;
  }
  for (int64_t d = 0; d < elements; ++d) {
    const float value = LoadElement(rows.data(), rows.dtype(), from + d);
    StoreElement(dtype == DType::kF8E4M3 ? value / scale : value, pages, dtype, to + d);
  }
}

void WriteHead(const PagedKvView& cache, const TensorView& rows, int64_t token, int64_t head,
               int64_t slot, const PageStrides& strides, void* pages, float* scales) {
  const int64_t page = slot / cache.page_size;
  const int64_t offset = slot % cache.page_size;
  const int64_t from = token * rows.stride(0) + head * rows.stride(1);
  float scale = 1;
  if (cache.scaling != KvScaling::kNone) {
    float& stored = scales[cache.ScaleStrides().Offset(page, head, offset)];
    if (cache.scaling == KvScaling::kPerTokenHead) {
      stored = TokenHeadScale(LargestFinite(rows, from, rows.dim(2)));
    }
    scale = stored;
  }
  WriteRow(rows, from, rows.dim(2), pages, cache.dtype, strides.Offset(page, head, offset), scale);
}

Status RunReference(const OpContext&, const Args& args) {
  const PagedKvView& cache = args.cache;
  for (int64_t token = 0; token < args.slot_mapping.dim(0); ++token) {
    const int64_t slot = SlotOf(args.slot_mapping, token);
    for (int32_t head = 0; slot >= 0 && head < cache.num_kv_heads; ++head) {
      WriteHead(cache, args.key, token, head, slot, cache.KeyStrides(), cache.k, cache.k_scale);
      WriteHead(cache, args.value, token, head, slot, cache.ValueStrides(), cache.v, cache.v_scale);
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

}  // namespace quire::ops::reshape_and_cache
