// The pages of a cache from Python's arrays.
#pragma once

#include <string>

#include "bindings/python/src/arrays.h"
#include "ops/paged_kv_view.h"

namespace quire::python {

// The view of a cache in two arrays. Throws ValueError for arrays that are not pages.
PagedKvView PagedKv(Arrays& arrays, nb::handle k_cache, nb::handle v_cache,
                    const std::string& page_order, nb::handle k_scale, nb::handle v_scale);

// The view of a latent cache [num_pages, P, latent_dim + rope_dim].
PagedLatentView PagedLatent(Arrays& arrays, nb::handle cache, int latent_dim, nb::handle scale);

}  // namespace quire::python
