#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"

#include "ops/page_size.h"
#include "ops/reshape_and_cache/slots.h"

namespace quire::ops::concat_and_cache_mla {

namespace {

constexpr std::string_view kOp = "concat_and_cache_mla";

Status CheckCache(const PagedLatentView& cache, Place place) {
  const bool quantized = cache.dtype == DType::kF8E4M3;
  if (!reshape_and_cache::IsPlainFloating(cache.dtype) && !quantized) {
    return InvalidArgument(kOp, ": a cache of ", InfoOf(cache.dtype).name,
                           " is not written; use f32, f16, bf16 or f8e4m3");
  }
  QUIRE_RETURN_IF_ERROR(CheckPageSize(kOp, cache.page_size));
  if (cache.latent_dim < 1 || cache.rope_dim < 0 || cache.num_pages < 0) {
    return InvalidArgument(kOp, ": the cache has ", cache.num_pages, " pages of rows of ",
                           cache.latent_dim, " and ", cache.rope_dim, " elements");
  }
  if (cache.place != place) {
    return InvalidArgument(kOp, ": the cache is on ", PlaceName(cache.place), ", the stream on ",
                           PlaceName(place));
  }
  if (cache.num_pages > 0 && cache.data == nullptr) {
    return InvalidArgument(kOp, ": the cache has no memory");
  }
  if (!quantized && cache.scale != nullptr) {
    return InvalidArgument(kOp, ": a cache of ", InfoOf(cache.dtype).name,
                           " has no scale; it is for f8e4m3");
  }
  return quantized ? reshape_and_cache::CheckScale(kOp, "scale", cache.scale, place) : OkStatus();
}

Status Validate(const Args& args, Place place) {
  const PagedLatentView& cache = args.cache;
  QUIRE_RETURN_IF_ERROR(CheckCache(cache, place));
  QUIRE_RETURN_IF_ERROR(reshape_and_cache::CheckSlots(kOp, args.slot_mapping,
                                                      cache.num_pages * cache.page_size, place));
  const int64_t tokens = args.slot_mapping.dim(0);
  QUIRE_RETURN_IF_ERROR(
      reshape_and_cache::CheckRows(kOp, "latent", args.latent, {tokens, cache.latent_dim}, place));
  QUIRE_RETURN_IF_ERROR(
      reshape_and_cache::CheckRows(kOp, "rope", args.rope, {tokens, cache.rope_dim}, place));
  if (args.latent.dtype() != args.rope.dtype()) {
    return InvalidArgument(kOp, ": latent is ", InfoOf(args.latent.dtype()).name, " and rope ",
                           InfoOf(args.rope.dtype()).name, "; they must have one type");
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::concat_and_cache_mla
