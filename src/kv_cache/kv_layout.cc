#include "kv_cache/kv_layout.h"

#include <algorithm>
#include <bit>

namespace quire {

namespace {

// Far above any model; keeps every byte count inside int64_t.
constexpr int32_t kMaxExtent = 1 << 16;

Status ValidateExtent(const char* name, int32_t value) {
  if (value < 1 || value > kMaxExtent) {
    return InvalidArgument("kv layout: ", name, " is ", value, "; it must be 1 to ", kMaxExtent);
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
  QUIRE_RETURN_IF_ERROR(ValidateExtent("num_layers", num_layers));
  QUIRE_RETURN_IF_ERROR(ValidateExtent("num_kv_heads", num_kv_heads));
  QUIRE_RETURN_IF_ERROR(ValidateExtent("head_dim", head_dim));
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    return Unsupported("kv layout: dtype ", InfoOf(dtype).name,
                       " cannot hold keys and values; use f32, f16 or bf16");
  }
  return ValidatePageSize(page_size);
}

int64_t KvLayout::ArrayBytesPerPage() const {
  return BytesOf(dtype, int64_t{num_kv_heads} * page_size * head_dim);
}

int64_t PagesThatFit(const KvLayout& layout, int64_t bytes) {
  return std::max<int64_t>(bytes, 0) / layout.BytesPerPage();
}

}  // namespace quire
