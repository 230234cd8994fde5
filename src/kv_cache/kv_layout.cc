#include "kv_cache/kv_layout.h"

#include <algorithm>
#include <bit>

namespace quire {

namespace {

// Far above any model; keeps every byte count inside int64_t.
constexpr int32_t kMaxExtent = 1 << 16;

Status ValidateExtent(const char* name, int32_t value, int32_t least) {
  if (value < least || value > kMaxExtent) {
    return InvalidArgument("kv layout: ", name, " is ", value, "; it must be ", least, " to ",
                           kMaxExtent);
  }
  return OkStatus();
}

Status ValidateExtents(const KvLayout& layout) {
  QUIRE_RETURN_IF_ERROR(ValidateExtent("num_layers", layout.num_layers, 1));
  QUIRE_RETURN_IF_ERROR(ValidateExtent("latent_dim", layout.latent_dim, 0));
  QUIRE_RETURN_IF_ERROR(ValidateExtent("rope_dim", layout.rope_dim, 0));
  if (!layout.is_latent()) {
    QUIRE_RETURN_IF_ERROR(ValidateExtent("num_kv_heads", layout.num_kv_heads, 1));
    QUIRE_RETURN_IF_ERROR(ValidateExtent("head_dim", layout.head_dim, 1));
    QUIRE_RETURN_IF_ERROR(ValidateExtent("value_head_dim", layout.value_head_dim, 0));
    if (layout.rope_dim != 0) {
      return InvalidArgument("kv layout: rope_dim is ", layout.rope_dim,
                             " without a latent_dim; heads have none, leave it 0");
    }
  } else if (layout.num_kv_heads != 0 || layout.head_dim != 0 || layout.value_head_dim != 0) {
    return InvalidArgument("kv layout: latents of ", layout.latent_dim, " with ",
                           layout.num_kv_heads, " heads of ", layout.head_dim, " and ",
                           layout.value_head_dim, "; latents have no heads, leave these 0");
  }
  return OkStatus();
}

Status ValidateScaling(const KvLayout& layout) {
  const bool quantized = layout.dtype == DType::kF8E4M3;
  if (quantized != (layout.scaling != KvScaling::kNone)) {
    return InvalidArgument("kv layout: dtype ", InfoOf(layout.dtype).name,
                           quantized ? " needs scales, per tensor or per token and head"
                                     : " has no scales; they are for f8e4m3");
  }
  if (layout.is_latent() && layout.scaling == KvScaling::kPerTokenHead) {
    return Unsupported("kv layout: latents have no scales per token and head; use one per tensor");
  }
  return OkStatus();
}

}  // namespace

Status ValidatePageSize(int32_t page_size) {
  if (page_size < 1 || page_size > KvLayout::kMaxPageSize ||
      !std::has_single_bit(static_cast<uint32_t>(page_size))) {
    return InvalidArgument("page size ", page_size,
                           " is not supported; use 1, 2, 4, 8, 16, 32, 64, 128 or 256 tokens");
  }
  return OkStatus();
}

Status KvLayout::Validate() const {
  QUIRE_RETURN_IF_ERROR(ValidateExtents(*this));
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16 &&
      dtype != DType::kF8E4M3) {
    return Unsupported("kv layout: dtype ", InfoOf(dtype).name,
                       " cannot hold keys and values; use f32, f16, bf16 or f8e4m3");
  }
  QUIRE_RETURN_IF_ERROR(ValidateScaling(*this));
  return ValidatePageSize(page_size);
}

std::span<const KvArray> KvLayout::Arrays() const {
  static constexpr KvArray kHeads[] = {KvArray::kKeys, KvArray::kValues, KvArray::kKeyScales,
                                       KvArray::kValueScales};
  static constexpr KvArray kRows[] = {KvArray::kLatents, KvArray::kLatentScale};
  const std::span<const KvArray> all =
      is_latent() ? std::span<const KvArray>(kRows) : std::span<const KvArray>(kHeads);
  return scaling == KvScaling::kNone ? all.first(all.size() / 2) : all;  // scales come last
}

Shape KvLayout::ScaleShape(int64_t num_pages) const {
  switch (scaling) {
    case KvScaling::kPerTokenHead: return {num_pages, num_kv_heads, page_size};
    case KvScaling::kPerTensor: return {1};
    default: return {0};
  }
}

Shape KvLayout::ArrayShape(KvArray array, int64_t num_pages) const {
  const bool of_latents = array == KvArray::kLatents || array == KvArray::kLatentScale;
  if (of_latents != is_latent()) {
    return {0};
  }
  switch (array) {
    case KvArray::kLatents: return {num_pages, page_size, int64_t{latent_dim} + rope_dim};
    case KvArray::kKeys:
    case KvArray::kValues: {
      const int64_t dim = array == KvArray::kKeys ? head_dim : value_dim();
      return order == PageOrder::kHnd ? Shape{num_pages, num_kv_heads, page_size, dim}
                                      : Shape{num_pages, page_size, num_kv_heads, dim};
    }
    default: return ScaleShape(num_pages);
  }
}

int64_t KvLayout::ArrayBytes(KvArray array, int64_t num_pages) const {
  const bool of_values =
      array == KvArray::kKeys || array == KvArray::kValues || array == KvArray::kLatents;
  return BytesOf(of_values ? dtype : DType::kF32, ArrayShape(array, num_pages).elements());
}

int64_t KvLayout::ArrayBytesPerPage(KvArray array) const {
  return ArrayBytes(array, 1) - ArrayBytes(array, 0);
}

int64_t KvLayout::BytesPerPage() const {
  int64_t bytes = 0;
  for (const KvArray array : Arrays()) {
    bytes += ArrayBytesPerPage(array);
  }
  return num_layers * bytes;
}

int64_t KvLayout::SharedBytes() const {
  int64_t bytes = 0;
  for (const KvArray array : Arrays()) {
    bytes += ArrayBytes(array, 0);
  }
  return num_layers * bytes;
}

int64_t PagesThatFit(const KvLayout& layout, int64_t bytes) {
  return std::max<int64_t>(bytes - layout.SharedBytes(), 0) / layout.BytesPerPage();
}

}  // namespace quire
