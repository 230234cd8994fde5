#include "bindings/python/src/kv_arrays.h"

namespace quire::python {

namespace {

TensorView Pages(Arrays& arrays, std::string_view name, nb::handle object, int rank) {
  const TensorView view = arrays.View(name, object);
  if (!view.defined() || view.rank() != rank || !view.IsContiguous()) {
    ThrowIfError(InvalidArgument(name, " must be a contiguous array of ", rank, " axes"));
  }
  return view;
}

KvScaling ScalingOf(const TensorView& scale, const PagedKvView& view) {
  if (!scale.defined()) {
    return KvScaling::kNone;
  }
  if (scale.dtype() == DType::kF32 && scale.IsContiguous()) {
    if (scale.shape() == Shape{1}) {
      return KvScaling::kPerTensor;
    }
    if (scale.shape() == Shape{view.num_pages, view.num_kv_heads, view.page_size}) {
      return KvScaling::kPerTokenHead;
    }
  }
  ThrowIfError(InvalidArgument("k_scale is ", Describe(scale),
                               "; it must be contiguous float32 [1] or [num_pages, Hkv, P]"));
  return KvScaling::kNone;
}

}  // namespace

PagedKvView PagedKv(Arrays& arrays, nb::handle k_cache, nb::handle v_cache,
                    const std::string& page_order, nb::handle k_scale, nb::handle v_scale) {
  if (page_order != "HND" && page_order != "NHD") {
    ThrowIfError(InvalidArgument("page_order is '", page_order, "'; use 'HND' or 'NHD'"));
  }
  const bool hnd = page_order == "HND";
  const TensorView k = Pages(arrays, "k_cache", k_cache, 4);
  const TensorView v = Pages(arrays, "v_cache", v_cache, 4);
  for (int axis = 0; axis < 3; ++axis) {
    if (k.dim(axis) != v.dim(axis) || k.dtype() != v.dtype()) {
      ThrowIfError(InvalidArgument("k_cache is ", Describe(k), ", v_cache ", Describe(v),
                                   "; only their last axes may differ"));
    }
  }
  PagedKvView view;
  view.k = k.data();
  view.v = v.data();
  view.dtype = k.dtype();
  view.num_pages = k.dim(0);
  view.num_kv_heads = static_cast<int32_t>(k.dim(hnd ? 1 : 2));
  view.page_size = static_cast<int32_t>(k.dim(hnd ? 2 : 1));
  view.head_dim = static_cast<int32_t>(k.dim(3));
  view.value_head_dim = static_cast<int32_t>(v.dim(3));
  view.order = hnd ? PageOrder::kHnd : PageOrder::kNhd;
  const TensorView key_scale = arrays.View("k_scale", k_scale);
  const TensorView value_scale = arrays.View("v_scale", v_scale);
  view.scaling = ScalingOf(key_scale, view);
  if (ScalingOf(value_scale, view) != view.scaling) {
    ThrowIfError(InvalidArgument("k_scale and v_scale must have one shape"));
  }
  if (key_scale.defined()) {
    view.k_scale = key_scale.as<float>();
    view.v_scale = value_scale.as<float>();
  }
  return view;
}

PagedLatentView PagedLatent(Arrays& arrays, nb::handle cache, int latent_dim, nb::handle scale) {
  const TensorView pages = Pages(arrays, "cache", cache, 3);
  if (latent_dim < 1 || latent_dim > pages.dim(2)) {
    ThrowIfError(InvalidArgument("latent_dim is ", latent_dim, " of rows of ", pages.dim(2)));
  }
  PagedLatentView view;
  view.data = pages.data();
  view.dtype = pages.dtype();
  view.num_pages = pages.dim(0);
  view.page_size = static_cast<int32_t>(pages.dim(1));
  view.latent_dim = latent_dim;
  view.rope_dim = static_cast<int32_t>(pages.dim(2)) - latent_dim;
  const TensorView factor = arrays.View("scale", scale);
  if (factor.defined()) {
    if (factor.dtype() != DType::kF32 || factor.shape().elements() != 1) {
      ThrowIfError(InvalidArgument("scale is ", Describe(factor), "; it must be float32 [1]"));
    }
    view.scale = factor.as<float>();
  }
  return view;
}

}  // namespace quire::python
