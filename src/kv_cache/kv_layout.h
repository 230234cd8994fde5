// KvLayout: the shape of the paged key/value memory, and the only source of its byte counts.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "ops/paged_kv_view.h"
#include "tensor/dtype.h"
#include "tensor/tensor_view.h"

namespace quire {

// The arrays that a layer may have.
enum class KvArray : uint8_t {
  kKeys,
  kValues,
  kKeyScales,
  kValueScales,
  kLatents,      // instead of keys and values
  kLatentScale,  // instead of their scales
};

// Each layer has a K and a V array, in the page order that `order` says, and for f8e4m3 the arrays
// of their scales; or, for multi-head latent attention, one array of latents [num_pages, page_size,
// latent_dim + rope_dim] and for f8e4m3 its scale. A page id names the same page of every layer's
// arrays. Scales are f32.
struct KvLayout {
  static constexpr int32_t kMaxPageSize = 256;

  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kF16;   // f32, f16 or bf16; f8e4m3 with a scaling
  int32_t page_size = 16;      // tokens, a power of two up to kMaxPageSize
  int32_t value_head_dim = 0;  // 0: as head_dim
  PageOrder order = PageOrder::kHnd;
  KvScaling scaling = KvScaling::kNone;
  // The latent form, if latent_dim > 0: num_kv_heads, head_dim and value_head_dim are 0 then.
  int32_t latent_dim = 0;
  int32_t rope_dim = 0;

  bool operator==(const KvLayout&) const = default;

  // Errors: invalid_argument, unsupported (dtype; scales per token and head of latents); each names
  // the value and the choices.
  Status Validate() const;

  // The functions below REQUIRE a valid layout.

  bool is_latent() const { return latent_dim > 0; }
  int32_t value_dim() const { return value_head_dim > 0 ? value_head_dim : head_dim; }

  // The arrays of a layer.
  std::span<const KvArray> Arrays() const;
  // The shape of an array of a layer; an array that the layout does not have is [0].
  Shape ArrayShape(KvArray array, int64_t num_pages) const;
  // The shape of the key scales (the value scales, the latents' scale) of a layer:
  // [num_pages, num_kv_heads, page_size] for one per token and head, [1] for one per tensor, else
  // [0].
  Shape ScaleShape(int64_t num_pages) const;
  // Bytes of an array of a layer, and of one page in it: 0 for what the pages share, a scale per
  // tensor.
  int64_t ArrayBytes(KvArray array, int64_t num_pages) const;
  int64_t ArrayBytesPerPage(KvArray array) const;

  // Bytes of one page: all arrays of all layers.
  int64_t BytesPerPage() const;
  // Bytes of one token: all arrays of all layers.
  int64_t BytesPerToken() const { return BytesPerPage() / page_size; }
  // Bytes that do not depend on the number of pages: the scales per tensor of all layers.
  int64_t SharedBytes() const;
};

// OK if `page_size` is a power of two from 1 to KvLayout::kMaxPageSize, else invalid_argument.
Status ValidatePageSize(int32_t page_size);

// Whole pages that `bytes` of memory hold beside what they share; 0 for a negative number.
// REQUIRES: a valid layout.
int64_t PagesThatFit(const KvLayout& layout, int64_t bytes);

}  // namespace quire
