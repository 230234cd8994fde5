#include "ops/reshape_and_cache/reshape_and_cache.h"

#include "ops/page_size.h"
#include "ops/reshape_and_cache/slots.h"

namespace quire::ops::reshape_and_cache {

namespace {

constexpr std::string_view kOp = "reshape_and_cache";

Status CheckScaling(const PagedKvView& cache) {
  const bool quantized = cache.dtype == DType::kF8E4M3;
  if (quantized != (cache.scaling != KvScaling::kNone)) {
    return InvalidArgument(kOp, ": a cache of ", InfoOf(cache.dtype).name,
                           quantized ? " needs scales, per tensor or per token and head"
                                     : " has no scales; they are for f8e4m3");
  }
  if (cache.scaling == KvScaling::kPerTensor) {
    QUIRE_RETURN_IF_ERROR(CheckScale(kOp, "k_scale", cache.k_scale, cache.place));
    QUIRE_RETURN_IF_ERROR(CheckScale(kOp, "v_scale", cache.v_scale, cache.place));
  }
  if (cache.scaling == KvScaling::kPerTokenHead && cache.num_pages > 0 &&
      (cache.k_scale == nullptr || cache.v_scale == nullptr)) {
    return InvalidArgument(kOp, ": the cache has no memory for the scales of its tokens");
  }
  return OkStatus();
}

Status CheckCache(const PagedKvView& cache, Place place) {
  if (!IsPlainFloating(cache.dtype) && cache.dtype != DType::kF8E4M3) {
    return InvalidArgument(kOp, ": a cache of ", InfoOf(cache.dtype).name,
                           " is not written; use f32, f16, bf16 or f8e4m3");
  }
  QUIRE_RETURN_IF_ERROR(CheckPageSize(kOp, cache.page_size));
  if (cache.num_kv_heads < 1 || cache.head_dim < 1 || cache.value_head_dim < 0 ||
      cache.num_pages < 0) {
    return InvalidArgument(kOp, ": the cache has ", cache.num_pages, " pages of ",
                           cache.num_kv_heads, " heads of ", cache.head_dim, " and ",
                           cache.value_dim(), " elements");
  }
  if (cache.place != place) {
    return InvalidArgument(kOp, ": the cache is on ", PlaceName(cache.place), ", the stream on ",
                           PlaceName(place));
  }
  if (cache.num_pages > 0 && (cache.k == nullptr || cache.v == nullptr)) {
    return InvalidArgument(kOp, ": the cache has no memory");
  }
  return CheckScaling(cache);
}

}  // namespace

Status Validate(const Args& args, Place place) {
  const PagedKvView& cache = args.cache;
  QUIRE_RETURN_IF_ERROR(CheckCache(cache, place));
  QUIRE_RETURN_IF_ERROR(
      CheckSlots(kOp, args.slot_mapping, cache.num_pages * cache.page_size, place));
  const int64_t tokens = args.slot_mapping.dim(0);
  const int64_t heads = cache.num_kv_heads;
  QUIRE_RETURN_IF_ERROR(CheckRows(kOp, "key", args.key, {tokens, heads, cache.head_dim}, place));
  QUIRE_RETURN_IF_ERROR(
      CheckRows(kOp, "value", args.value, {tokens, heads, cache.value_dim()}, place));
  if (args.key.dtype() != args.value.dtype()) {
    return InvalidArgument(kOp, ": key is ", InfoOf(args.key.dtype()).name, " and value ",
                           InfoOf(args.value.dtype()).name, "; they must have one type");
  }
  return OkStatus();
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::reshape_and_cache
