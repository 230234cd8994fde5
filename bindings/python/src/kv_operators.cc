#include "bindings/python/src/context.h"
#include "bindings/python/src/kv_arrays.h"
#include "bindings/python/src/operators.h"
#include "bindings/python/src/rope_style.h"
#include "ops/cast/cast.h"
#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"
#include "ops/copy_pages/copy_pages.h"
#include "ops/page_table_copy/page_table_copy.h"
#include "ops/repack_kv_index/repack_kv_index.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"
#include "ops/rope_and_cache/rope_and_cache.h"

namespace quire::python {

namespace {

constexpr const char* kReshapeAndCacheDoc =
    R"(Writes the keys and values of new tokens into their slots of a paged cache.

Args:
    key, value: float32, float16 or bfloat16 [T, Hkv, Dk] and [T, Hkv, Dv].
    slot_mapping: int32 or int64 [T]: page * P + offset; negative = skipped.
    k_cache, v_cache: written: [num_pages, Hkv, P, D] with page_order 'HND' or
        [num_pages, P, Hkv, D] with 'NHD'; float32, float16, bfloat16 or float8_e4m3fn.
    k_scale, v_scale: of a float8_e4m3fn cache: float32 [1], read; or [num_pages, Hkv, P], written.

Raises:
    ValueError: shapes, types, a slot past the cache; nothing is written then.)";

constexpr const char* kRopeAndCacheDoc =
    R"(Turns queries and keys in place, then writes keys and values as reshape_and_cache does.

Args:
    query: float32, float16 or bfloat16 [T, Hq, D], turned in place.
    key, value: of its type [T, Hkv, D], turned in place, and [T, Hkv, Dv].
    cos_sin: float32 [T, r / 2, 2].
    style: as in rope.
    slot_mapping, k_cache, v_cache, page_order, k_scale, v_scale: as in reshape_and_cache.

Raises:
    ValueError: shapes, types, a slot past the cache; nothing is written then.)";

constexpr const char* kConcatAndCacheMlaDoc =
    R"(Writes latent and rotated parts side by side into a latent cache.

Args:
    latent, rope: float32, float16 or bfloat16 [T, latent_dim] and [T, rope_dim].
    slot_mapping: as in reshape_and_cache.
    cache: written: [num_pages, P, latent_dim + rope_dim]; float8_e4m3fn with cache_scale,
        float32 [1].)";

constexpr const char* kCopyPagesDoc =
    R"(Copies whole pages within one array or to another.

Args:
    source, destination: [pages, ...] of one type and page shape, contiguous; may be one array.
    pairs: int32 [N, 2]: source page, destination page.

Raises:
    ValueError: shapes, pages that do not exist, a destination named twice or a source too.)";

constexpr const char* kPageTableCopyDoc =
    R"(The page tables of some requests: the first ceil(kv_length / page_size) pages, then -1.

Args:
    request_pages: int32 [R, request_max_pages], pages of each request in order.
    request_ids: int32 [B]; kv_length: int32 [B] tokens.
    page_size: tokens, a power of two.
    max_pages: width of the result if `out` is None.

Returns:
    int32 [B, max_pages].)";

constexpr const char* kRepackKvIndexDoc =
    R"(The page tables of some requests as CSR indices.

Args:
    request_pages, request_ids, kv_length, page_size: as in page_table_copy.
    indptr: int32 [B + 1], written.
    indices: int32 [capacity], written up to indptr[B].
    last_page_len: int32 [B], written: tokens in each sequence's last page; 0 for an empty one.)";

constexpr const char* kCastDoc =
    R"(x (times scale) in another type: rounded once, to the nearest, ties to even.

Args:
    x: float32, float16, bfloat16 or float8_e4m3fn [T, D].
    dtype: 'f32', 'f16', 'bf16' or 'f8e4m3', of the result if `out` is None.
    scale: float32 [1] or None.)";

void ReshapeAndCache(nb::handle key, nb::handle value, nb::handle slot_mapping, nb::handle k_cache,
                     nb::handle v_cache, const std::string& page_order, nb::handle k_scale,
                     nb::handle v_scale, const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::reshape_and_cache::Args args;
  args.key = arrays.View("key", key);
  args.value = arrays.View("value", value);
  args.slot_mapping = arrays.View("slot_mapping", slot_mapping);
  args.cache = PagedKv(arrays, k_cache, v_cache, page_order, k_scale, v_scale);
  ThrowIfError(ops::reshape_and_cache::Run(context.For(implementation), args));
}

void RopeAndCache(nb::handle query, nb::handle key, nb::handle value, nb::handle cos_sin,
                  nb::handle slot_mapping, nb::handle k_cache, nb::handle v_cache,
                  const std::string& style, const std::string& page_order, nb::handle k_scale,
                  nb::handle v_scale, const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::rope_and_cache::Args args;
  args.query = arrays.View("query", query);
  args.key = arrays.View("key", key);
  args.value = arrays.View("value", value);
  args.cos_sin = arrays.View("cos_sin", cos_sin);
  args.style = RopeStyleNamed(style);
  args.slot_mapping = arrays.View("slot_mapping", slot_mapping);
  args.cache = PagedKv(arrays, k_cache, v_cache, page_order, k_scale, v_scale);
  ThrowIfError(ops::rope_and_cache::Run(context.For(implementation), args));
}

void ConcatAndCacheMla(nb::handle latent, nb::handle rope, nb::handle slot_mapping,
                       nb::handle cache, nb::handle cache_scale, const std::string& implementation,
                       Context& context) {
  Arrays arrays;
  ops::concat_and_cache_mla::Args args;
  args.latent = arrays.View("latent", latent);
  args.rope = arrays.View("rope", rope);
  args.slot_mapping = arrays.View("slot_mapping", slot_mapping);
  const auto latent_dim = args.latent.rank() == 2 ? static_cast<int>(args.latent.dim(1)) : 0;
  args.cache = PagedLatent(arrays, cache, latent_dim, cache_scale);
  ThrowIfError(ops::concat_and_cache_mla::Run(context.For(implementation), args));
}

void CopyPages(nb::handle source, nb::handle destination, nb::handle pairs,
               const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::copy_pages::Args args;
  args.source = arrays.View("source", source);
  args.destination = arrays.View("destination", destination);
  args.pairs = arrays.View("pairs", pairs);
  ThrowIfError(ops::copy_pages::Run(context.For(implementation), args));
}

nb::object PageTableCopy(nb::handle request_pages, nb::handle request_ids, nb::handle kv_length,
                         int page_size, int max_pages, nb::handle out,
                         const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::page_table_copy::Args args;
  args.request_pages = arrays.View("request_pages", request_pages);
  args.request_ids = arrays.View("request_ids", request_ids);
  args.kv_length = arrays.View("kv_length", kv_length);
  args.page_size = page_size;
  args.out = arrays.Output("out", out, DType::kI32,
                           {args.request_ids.shape().elements(), int64_t{max_pages}});
  ThrowIfError(ops::page_table_copy::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

void RepackKvIndex(nb::handle request_pages, nb::handle request_ids, nb::handle kv_length,
                   int page_size, nb::handle indptr, nb::handle indices, nb::handle last_page_len,
                   const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::repack_kv_index::Args args;
  args.request_pages = arrays.View("request_pages", request_pages);
  args.request_ids = arrays.View("request_ids", request_ids);
  args.kv_length = arrays.View("kv_length", kv_length);
  args.page_size = page_size;
  args.indptr = arrays.View("indptr", indptr);
  args.indices = arrays.View("indices", indices);
  args.last_page_len = arrays.View("last_page_len", last_page_len);
  ThrowIfError(ops::repack_kv_index::Run(context.For(implementation), args));
}

nb::object Cast(nb::handle x, const std::string& dtype, nb::handle scale, nb::handle out,
                const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::cast::Args args;
  args.x = arrays.View("x", x);
  args.out = arrays.Output("out", out, TypeNamed(dtype), args.x.shape());
  args.scale = arrays.View("scale", scale);
  ThrowIfError(ops::cast::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

}  // namespace

void BindKvOperators(nb::module_& module) {
  const nb::none none;
  module.def("reshape_and_cache", ReshapeAndCache, nb::arg("key"), nb::arg("value"),
             nb::arg("slot_mapping"), nb::arg("k_cache"), nb::arg("v_cache"), nb::kw_only(),
             nb::arg("page_order") = "HND", nb::arg("k_scale") = none, nb::arg("v_scale") = none,
             nb::arg("implementation") = "", nb::arg("context"), kReshapeAndCacheDoc);
  module.def("rope_and_cache", RopeAndCache, nb::arg("query"), nb::arg("key"), nb::arg("value"),
             nb::arg("cos_sin"), nb::arg("slot_mapping"), nb::arg("k_cache"), nb::arg("v_cache"),
             nb::kw_only(), nb::arg("style") = "neox", nb::arg("page_order") = "HND",
             nb::arg("k_scale") = none, nb::arg("v_scale") = none, nb::arg("implementation") = "",
             nb::arg("context"), kRopeAndCacheDoc);
  module.def("concat_and_cache_mla", ConcatAndCacheMla, nb::arg("latent"), nb::arg("rope"),
             nb::arg("slot_mapping"), nb::arg("cache"), nb::kw_only(),
             nb::arg("cache_scale") = none, nb::arg("implementation") = "", nb::arg("context"),
             kConcatAndCacheMlaDoc);
  module.def("copy_pages", CopyPages, nb::arg("source"), nb::arg("destination"), nb::arg("pairs"),
             nb::kw_only(), nb::arg("implementation") = "", nb::arg("context"), kCopyPagesDoc);
  module.def("page_table_copy", PageTableCopy, nb::arg("request_pages"), nb::arg("request_ids"),
             nb::arg("kv_length"), nb::arg("page_size"), nb::kw_only(), nb::arg("max_pages") = 0,
             nb::arg("out") = none, nb::arg("implementation") = "", nb::arg("context"),
             kPageTableCopyDoc);
  module.def("repack_kv_index", RepackKvIndex, nb::arg("request_pages"), nb::arg("request_ids"),
             nb::arg("kv_length"), nb::arg("page_size"), nb::arg("indptr"), nb::arg("indices"),
             nb::arg("last_page_len"), nb::kw_only(), nb::arg("implementation") = "",
             nb::arg("context"), kRepackKvIndexDoc);
  module.def("cast", Cast, nb::arg("x"), nb::arg("dtype") = "f32", nb::kw_only(),
             nb::arg("scale") = none, nb::arg("out") = none, nb::arg("implementation") = "",
             nb::arg("context"), kCastDoc);
}

}  // namespace quire::python
