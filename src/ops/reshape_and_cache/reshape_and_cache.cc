#include "ops/reshape_and_cache/reshape_and_cache.h"

#include <bit>

#include "ops/reshape_and_cache/slots.h"

namespace quire::ops::reshape_and_cache {

namespace {

Status CheckCache(const PagedKvView& cache, Place place) {
  if (cache.dtype != DType::kF32 && cache.dtype != DType::kF16 && cache.dtype != DType::kBF16) {
    return InvalidArgument("reshape_and_cache: a cache of ", InfoOf(cache.dtype).name,
                           " is not written; use f32, f16 or bf16");
  }
  if (cache.page_size < 1 || !std::has_single_bit(static_cast<uint32_t>(cache.page_size))) {
    return InvalidArgument("reshape_and_cache: page size ", cache.page_size,
                           " is not a power of two");
  }
  if (cache.num_kv_heads < 1 || cache.head_dim < 1 || cache.num_pages < 0) {
    return InvalidArgument("reshape_and_cache: the cache has ", cache.num_pages, " pages of ",
                           cache.num_kv_heads, " heads of ", cache.head_dim, " elements");
  }
  if (cache.place != place) {
    return InvalidArgument("reshape_and_cache: the cache is on ", PlaceName(cache.place),
                           ", the stream on ", PlaceName(place));
  }
  if (cache.num_pages > 0 && (cache.k == nullptr || cache.v == nullptr)) {
    return InvalidArgument("reshape_and_cache: the cache has no memory");
  }
  return OkStatus();
}

Status CheckRows(std::string_view name, const TensorView& rows, const PagedKvView& cache,
                 int64_t tokens) {
  const Shape expected = {tokens, cache.num_kv_heads, cache.head_dim};
  if (rows.dtype() != DType::kF32 || rows.shape() != expected || !rows.defined() ||
      rows.place() != cache.place) {
    return InvalidArgument("reshape_and_cache: ", name, " must be f32 ", ShapeName(expected),
                           " on ", PlaceName(cache.place), ", not ", Describe(rows));
  }
  if (rows.stride(2) != 1) {
    return InvalidArgument("reshape_and_cache: the elements of a head of ", name,
                           " must be contiguous, not ", rows.stride(2), " apart");
  }
  return OkStatus();
}

Status CheckSlots(const TensorView& slots, const PagedKvView& cache) {
  const bool integers = slots.dtype() == DType::kI32 || slots.dtype() == DType::kI64;
  if (!integers || slots.rank() != 1 || !slots.IsContiguous() || !slots.defined() ||
      slots.place() != cache.place) {
    return InvalidArgument(
        "reshape_and_cache: slot_mapping must be contiguous i32 or i64 [tokens] on ",
        PlaceName(cache.place), ", not ", Describe(slots));
  }
  const int64_t end = cache.num_pages * cache.page_size;
  for (int64_t token = 0; token < slots.dim(0); ++token) {
    if (const int64_t slot = SlotOf(slots, token); slot >= end) {
      return InvalidArgument("reshape_and_cache: slot ", slot, " of token ", token,
                             " is past the cache, which has ", end, " slots");
    }
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(CheckCache(args.cache, place));
  QUIRE_RETURN_IF_ERROR(CheckSlots(args.slot_mapping, args.cache));
  QUIRE_RETURN_IF_ERROR(CheckRows("key", args.key, args.cache, args.slot_mapping.dim(0)));
  QUIRE_RETURN_IF_ERROR(CheckRows("value", args.value, args.cache, args.slot_mapping.dim(0)));
  return RunBest("reshape_and_cache", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::reshape_and_cache
