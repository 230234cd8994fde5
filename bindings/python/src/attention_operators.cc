#include <nanobind/stl/optional.h>

#include <cmath>

#include "bindings/python/src/context.h"
#include "bindings/python/src/kv_arrays.h"
#include "bindings/python/src/operators.h"
#include "ops/flash_attention/flash_attention.h"
#include "ops/merge_attention_states/merge_attention_states.h"
#include "ops/mla_attention/mla_attention.h"
#include "ops/paged_attention/paged_attention.h"

namespace quire::python {

namespace {

constexpr const char* kFlashAttentionDoc =
    R"(softmax(scale Q K^T) V of ragged sequences.

Args:
    query: float32, float16 or bfloat16 [T, Hq, Dqk].
    query_start: int32 [B + 1]; sequence b has the rows query_start[b] .. query_start[b + 1].
    key, value: [S, Hkv, Dqk] and [S, Hkv, Dv], with key_start int32 [B + 1]; or instead
    k_cache, v_cache: pages (as in paged_attention), with page_table int32 [B, max_pages] and
        kv_length int32 [B].
    scale: of the dot products; by default Dqk ** -0.5.
    causal: row i of n, of a sequence with m keys, is at position m - n + i and sees no key after
        it.
    window_left, window_right: keys to each side of a row's own that it sees; -1 for all.
    sliding_window: w for the window (w - 1, 0).
    logit_soft_cap: c for scores c * tanh(score / c); 0 for none.
    sinks: float32 [Hq], one more logit of each head in the denominator.
    lse: float32 [T, Hq] to receive the logarithm of the sum of the exponentials.

Returns:
    [T, Hq, Dv] of the query's type.

Raises:
    ValueError: shapes, types, windows that contradict each other, pages that do not exist.)";

constexpr const char* kPagedAttentionDoc =
    R"(Causal attention of 1 to 16 rows a sequence over a paged cache: decode and verification.

Args:
    query: float32, float16 or bfloat16 [T, Hq, D].
    k_cache, v_cache: the pages, [num_pages, Hkv, P, D] with page_order 'HND' or
        [num_pages, P, Hkv, D] with 'NHD'; float32, float16, bfloat16, or float8_e4m3fn with
        k_scale and v_scale, float32 [1] or [num_pages, Hkv, P]. P is a power of two.
    page_table: int32 [B, max_pages].
    kv_length: int32 [B], this call's tokens included.
    query_start: int32 [B + 1]; None for one row a sequence.
    scale, window_left, logit_soft_cap, sinks, lse: as in flash_attention.

Returns:
    [T, Hq, D] of the query's type.

Raises:
    ValueError: shapes, types, more than 16 rows, pages that do not exist.)";

constexpr const char* kMlaAttentionDoc =
    R"(Absorbed decode of multi-head latent attention over a paged latent cache.

Args:
    query: float32, float16 or bfloat16 [T, Hq, latent_dim + rope_dim].
    cache: [num_pages, P, latent_dim + rope_dim]; float8_e4m3fn with cache_scale, float32 [1].
    page_table, kv_length, query_start, scale, lse: as in paged_attention.
    latent_dim: how much of a row the values are.

Returns:
    [T, Hq, latent_dim] of the query's type.)";

constexpr const char* kMergeDoc =
    R"(Attention over two disjoint sets of keys from the attention over each.

Args:
    out_a, out_b: float32, float16 or bfloat16 [T, H, D].
    lse_a, lse_b: float32 [T, H]; -inf where a part saw no key.

Returns:
    (out [T, H, D] of out_a's type, lse float32 [T, H]).)";

// `out` by its own shape if it is there, else [T, H, dim] of the query.
TensorView OutputFor(Arrays& arrays, nb::handle out, const TensorView& query, int64_t dim) {
  if (query.rank() != 3) {
    ThrowIfError(InvalidArgument("query must be [tokens, heads, elements], not ", Describe(query)));
  }
  return arrays.Output("out", out, query.dtype(), {query.dim(0), query.dim(1), dim});
}

float ScaleOr(std::optional<float> scale, int64_t head_dim) {
  return scale.value_or(1.0f / std::sqrt(static_cast<float>(head_dim)));
}

nb::object FlashAttention(nb::handle query, nb::handle query_start, nb::handle key,
                          nb::handle value, nb::handle key_start, nb::handle k_cache,
                          nb::handle v_cache, nb::handle page_table, nb::handle kv_length,
                          const std::string& page_order, nb::handle k_scale, nb::handle v_scale,
                          std::optional<float> scale, bool causal, int window_left,
                          int window_right, std::optional<int> sliding_window, float logit_soft_cap,
                          nb::handle sinks, nb::handle lse, nb::handle out,
                          const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::flash_attention::Args args;
  args.query = arrays.View("query", query);
  args.query_start = arrays.View("query_start", query_start);
  args.key = arrays.View("key", key);
  args.value = arrays.View("value", value);
  args.key_start = arrays.View("key_start", key_start);
  int64_t value_dim = args.value.rank() == 3 ? args.value.dim(2) : 0;
  if (!k_cache.is_none()) {
    args.cache = PagedKv(arrays, k_cache, v_cache, page_order, k_scale, v_scale);
    args.page_table = arrays.View("page_table", page_table);
    args.kv_length = arrays.View("kv_length", kv_length);
    value_dim = args.cache.value_dim();
  }
  args.out = OutputFor(arrays, out, args.query, value_dim);
  args.lse = arrays.View("lse", lse);
  args.scale = ScaleOr(scale, args.query.dim(2));
  args.causal = causal;
  args.window_left = window_left;
  args.window_right = window_right;
  args.sliding_window = sliding_window;
  args.logit_soft_cap = logit_soft_cap;
  args.sinks = arrays.View("sinks", sinks);
  ThrowIfError(ops::flash_attention::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object PagedAttention(nb::handle query, nb::handle k_cache, nb::handle v_cache,
                          nb::handle page_table, nb::handle kv_length, nb::handle query_start,
                          const std::string& page_order, nb::handle k_scale, nb::handle v_scale,
                          std::optional<float> scale, int window_left, float logit_soft_cap,
                          nb::handle sinks, nb::handle lse, nb::handle out,
                          const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::paged_attention::Args args;
  args.query = arrays.View("query", query);
  args.query_start = arrays.View("query_start", query_start);
  args.cache = PagedKv(arrays, k_cache, v_cache, page_order, k_scale, v_scale);
  args.page_table = arrays.View("page_table", page_table);
  args.kv_length = arrays.View("kv_length", kv_length);
  args.out = OutputFor(arrays, out, args.query, args.cache.value_dim());
  args.lse = arrays.View("lse", lse);
  args.scale = ScaleOr(scale, args.query.dim(2));
  args.window_left = window_left;
  args.logit_soft_cap = logit_soft_cap;
  args.sinks = arrays.View("sinks", sinks);
  ThrowIfError(ops::paged_attention::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object MlaAttention(nb::handle query, nb::handle cache, nb::handle page_table,
                        nb::handle kv_length, int latent_dim, nb::handle query_start,
                        nb::handle cache_scale, float scale, nb::handle lse, nb::handle out,
                        const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::mla_attention::Args args;
  args.query = arrays.View("query", query);
  args.query_start = arrays.View("query_start", query_start);
  args.cache = PagedLatent(arrays, cache, latent_dim, cache_scale);
  args.page_table = arrays.View("page_table", page_table);
  args.kv_length = arrays.View("kv_length", kv_length);
  args.out = OutputFor(arrays, out, args.query, latent_dim);
  args.lse = arrays.View("lse", lse);
  args.scale = scale;
  ThrowIfError(ops::mla_attention::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object MergeAttentionStates(nb::handle out_a, nb::handle lse_a, nb::handle out_b,
                                nb::handle lse_b, nb::handle lse, nb::handle out,
                                const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::merge_attention_states::Args args;
  args.out_a = arrays.View("out_a", out_a);
  args.lse_a = arrays.View("lse_a", lse_a);
  args.out_b = arrays.View("out_b", out_b);
  args.lse_b = arrays.View("lse_b", lse_b);
  args.out = arrays.Output("out", out, args.out_a.dtype(), args.out_a.shape());
  args.lse = arrays.Output("lse", lse, DType::kF32, args.lse_a.shape());
  ThrowIfError(ops::merge_attention_states::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

}  // namespace

void BindAttentionOperators(nb::module_& module) {
  const nb::none none;
  module.def("flash_attention", FlashAttention, nb::arg("query"), nb::arg("query_start"),
             nb::arg("key") = none, nb::arg("value") = none, nb::arg("key_start") = none,
             nb::kw_only(), nb::arg("k_cache") = none, nb::arg("v_cache") = none,
             nb::arg("page_table") = none, nb::arg("kv_length") = none,
             nb::arg("page_order") = "HND", nb::arg("k_scale") = none, nb::arg("v_scale") = none,
             nb::arg("scale") = none, nb::arg("causal") = true, nb::arg("window_left") = -1,
             nb::arg("window_right") = -1, nb::arg("sliding_window") = none,
             nb::arg("logit_soft_cap") = 0.0f, nb::arg("sinks") = none, nb::arg("lse") = none,
             nb::arg("out") = none, nb::arg("implementation") = "", nb::arg("context"),
             kFlashAttentionDoc);
  module.def("paged_attention", PagedAttention, nb::arg("query"), nb::arg("k_cache"),
             nb::arg("v_cache"), nb::arg("page_table"), nb::arg("kv_length"), nb::kw_only(),
             nb::arg("query_start") = none, nb::arg("page_order") = "HND",
             nb::arg("k_scale") = none, nb::arg("v_scale") = none, nb::arg("scale") = none,
             nb::arg("window_left") = -1, nb::arg("logit_soft_cap") = 0.0f, nb::arg("sinks") = none,
             nb::arg("lse") = none, nb::arg("out") = none, nb::arg("implementation") = "",
             nb::arg("context"), kPagedAttentionDoc);
  module.def("mla_attention", MlaAttention, nb::arg("query"), nb::arg("cache"),
             nb::arg("page_table"), nb::arg("kv_length"), nb::kw_only(), nb::arg("latent_dim"),
             nb::arg("query_start") = none, nb::arg("cache_scale") = none, nb::arg("scale") = 1.0f,
             nb::arg("lse") = none, nb::arg("out") = none, nb::arg("implementation") = "",
             nb::arg("context"), kMlaAttentionDoc);
  module.def("merge_attention_states", MergeAttentionStates, nb::arg("out_a"), nb::arg("lse_a"),
             nb::arg("out_b"), nb::arg("lse_b"), nb::kw_only(), nb::arg("lse") = none,
             nb::arg("out") = none, nb::arg("implementation") = "", nb::arg("context"), kMergeDoc);
}

}  // namespace quire::python
