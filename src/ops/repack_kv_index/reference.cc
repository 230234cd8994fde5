#include "ops/repack_kv_index/repack_kv_index.h"

namespace quire::ops::repack_kv_index {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  const TensorView& table = args.request_pages;
  int32_t count = 0;
  args.indptr.as<int32_t>()[0] = 0;
  for (int64_t b = 0; b < args.request_ids.dim(0); ++b) {
    const int32_t id = args.request_ids.as<const int32_t>()[b];
    int32_t tokens = args.kv_length.as<const int32_t>()[b];  // that are not yet in a page
    int32_t last_page_len = 0;
    for (int64_t page = 0; tokens > 0; ++page) {
      args.indices.as<int32_t>()[count++] = table.as<const int32_t>()[id * table.stride(0) + page];
      last_page_len = tokens < args.page_size ? tokens : args.page_size;
      tokens -= last_page_len;
    }
    args.indptr.as<int32_t>()[b + 1] = count;
    args.last_page_len.as<int32_t>()[b] = last_page_len;
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference",
           [](const OpContext& context, const Args&) {
             return context.stream.device().place().IsHost();
           },
           RunReference, "i32"}};
}

}  // namespace quire::ops::repack_kv_index
