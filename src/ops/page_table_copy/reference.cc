#include "ops/page_table_copy/page_table_copy.h"
#include "ops/page_table_copy/request_pages.h"

namespace quire::ops::page_table_copy {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  for (int64_t b = 0; b < args.out.dim(0); ++b) {
    const int32_t id = args.request_ids.as<const int32_t>()[b];
    const int32_t length = args.kv_length.as<const int32_t>()[b];
    for (int64_t page = 0; page < args.out.dim(1); ++page) {
      const bool used = page * args.page_size < length;  // the page's first token is there
      args.out.as<int32_t>()[b * args.out.stride(0) + page] =
          used ? args.request_pages.as<const int32_t>()[id * args.request_pages.stride(0) + page]
               : -1;
    }
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

}  // namespace quire::ops::page_table_copy
