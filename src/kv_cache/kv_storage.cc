#include "kv_cache/kv_storage.h"

#include <algorithm>
#include <utility>

#include "ops/copy_pages/copy_pages.h"
#include "ops/scratch.h"

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
  const bool overflows =
      __builtin_mul_overflow(layout.BytesPerPage(), int64_t{num_pages}, &bytes) ||
      __builtin_add_overflow(layout.SharedBytes(), bytes, &bytes);
  QUIRE_ASSIGN_OR_RETURN(const size_t available, device.AvailableMemory());
  if (overflows || bytes > static_cast<int64_t>(available)) {
    return DoesNotFit(device, layout, overflows ? INT64_MAX : bytes,
                      static_cast<int64_t>(available), num_pages);
  }
  KvStorage storage(layout, num_pages);
  const std::span<const KvArray> arrays = layout.Arrays();
  for (int32_t layer = 0; layer < layout.num_layers; ++layer) {
    for (const KvArray array : arrays) {
      Result<Buffer> buffer =
          device.Allocate(static_cast<size_t>(layout.ArrayBytes(array, num_pages)));
      if (!buffer.ok()) {
        return buffer.status().WithContext(
            DoesNotFit(device, layout, bytes, static_cast<int64_t>(available), num_pages)
                .message());
      }
      storage.arrays_.push_back(*std::move(buffer));
    }
  }
  return storage;
}

bool KvStorage::PopulateSome(Device& device) {
  constexpr size_t kSlice = size_t{2} << 20;
  for (size_t tries = 0; tries < arrays_.size(); ++tries) {
    const Buffer& array = arrays_[populated_ % arrays_.size()];
    const size_t begin = populated_ / arrays_.size() * kSlice;
    ++populated_;
    if (begin < array.bytes()) {
      return device.Populate(static_cast<std::byte*>(array.data()) + begin,
                             std::min(kSlice, array.bytes() - begin));
    }
  }
  return false;
}

void* KvStorage::Array(int32_t layer, KvArray array) const {
  QUIRE_CHECK_GE(layer, 0);
  QUIRE_CHECK_LT(layer, layout_.num_layers);
  const std::span<const KvArray> arrays = layout_.Arrays();
  const auto found = std::find(arrays.begin(), arrays.end(), array);
  return found == arrays.end() ? nullptr
                               : arrays_[static_cast<size_t>(layer) * arrays.size() +
                                         static_cast<size_t>(found - arrays.begin())]
                                     .data();
}

TensorView KvStorage::Pages(int32_t layer, KvArray array) const {
  void* data = Array(layer, array);
  if (data == nullptr || layout_.ArrayBytesPerPage(array) == 0) {
    return {};
  }
  const bool scales = array == KvArray::kKeyScales || array == KvArray::kValueScales;
  return {data, scales ? DType::kF32 : layout_.dtype, layout_.ArrayShape(array, num_pages_),
          place()};
}

PagedKvView KvStorage::Layer(int32_t layer) const {
  QUIRE_CHECK(!layout_.is_latent()) << "a latent cache has no keys and values";
  return {.k = Array(layer, KvArray::kKeys),
          .v = Array(layer, KvArray::kValues),
          .dtype = layout_.dtype,
          .num_pages = num_pages_,
          .num_kv_heads = layout_.num_kv_heads,
          .page_size = layout_.page_size,
          .head_dim = layout_.head_dim,
          .place = place(),
          .order = layout_.order,
          .value_head_dim = layout_.value_head_dim,
          .scaling = layout_.scaling,
          .k_scale = static_cast<float*>(Array(layer, KvArray::kKeyScales)),
          .v_scale = static_cast<float*>(Array(layer, KvArray::kValueScales))};
}

PagedLatentView KvStorage::LatentLayer(int32_t layer) const {
  QUIRE_CHECK(layout_.is_latent()) << "a cache of keys and values has no latents";
  return {.data = Array(layer, KvArray::kLatents),
          .dtype = layout_.dtype,
          .num_pages = num_pages_,
          .page_size = layout_.page_size,
          .latent_dim = layout_.latent_dim,
          .rope_dim = layout_.rope_dim,
          .place = place(),
          .scale = static_cast<float*>(Array(layer, KvArray::kLatentScale))};
}

namespace {

// The pairs where the operator reads them, in the workspace unless that is host memory.
Result<TensorView> BringPairs(const ops::OpContext& context, std::span<const PageCopy> copies) {
  static_assert(sizeof(PageCopy) == 2 * sizeof(int32_t));
  const TensorView host(const_cast<PageCopy*>(copies.data()), DType::kI32,
                        {static_cast<int64_t>(copies.size()), 2});
  const Place place = context.stream.device().place();
  if (place.IsHost()) {
    return host;
  }
  const TensorView pairs = ops::Scratch(context, DType::kI32, host.shape());
  QUIRE_RETURN_IF_ERROR(
      context.stream.Copy(pairs.data(), place, host.data(), host.place(), copies.size_bytes()));
  return pairs;
}

}  // namespace

Status CopyPages(const ops::OpContext& context, const KvStorage& source,
                 const KvStorage& destination, std::span<const PageCopy> copies) {
  if (source.layout() != destination.layout()) {
    return InvalidArgument("kv pages cannot be copied between memories of different layouts");
  }
  if (copies.empty()) {
    return OkStatus();
  }
  const Workspace::Scope scope(context.workspace);
  QUIRE_ASSIGN_OR_RETURN(const TensorView pairs, BringPairs(context, copies));
  for (int32_t layer = 0; layer < source.layout().num_layers; ++layer) {
    for (const KvArray array : source.layout().Arrays()) {
      const TensorView from = source.Pages(layer, array);
      if (from.defined()) {
        QUIRE_RETURN_IF_ERROR(ops::copy_pages::Run(
            context,
            {.source = from, .destination = destination.Pages(layer, array), .pairs = pairs}));
      }
    }
  }
  return OkStatus();
}

}  // namespace quire
