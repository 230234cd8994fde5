// A row is one copy and one fill; rows are shared out among the threads.
#include <algorithm>

#include "ops/cpu_rows.h"
#include "ops/page_table_copy/page_table_copy.h"
#include "ops/page_table_copy/request_pages.h"

namespace quire::ops::page_table_copy {

namespace {

Status CopyRows(const OpContext& context, const Args& args) {
  const auto* ids = args.request_ids.as<const int32_t>();
  const auto* lengths = args.kv_length.as<const int32_t>();
  const int64_t width = args.out.dim(1);
  ForRowRanges(context, args.out.dim(0), width, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t pages = PagesOf(lengths[b], args.page_size);
      int32_t* row = args.out.as<int32_t>() + b * args.out.stride(0);
      std::copy_n(PagesOfRequest(args.request_pages, ids[b]), pages, row);
      std::fill(row + pages, row + width, -1);
    }
  });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {{"row_copies", [](const OpContext&, const Args&) { return true; }, CopyRows, "i32"}};
}

}  // namespace quire::ops::page_table_copy
