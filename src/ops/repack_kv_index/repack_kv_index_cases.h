// Problems of repack_kv_index, shared by its test and its benchmark. No product code includes this.
#pragma once

#include <vector>

#include "ops/page_table_copy/page_table_copy_cases.h"
#include "ops/repack_kv_index/repack_kv_index.h"

namespace quire::ops::repack_kv_index {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.request_pages);
  visit(args.request_ids);
  visit(args.kv_length);
  visit(args.indptr);
  visit(args.indices);
  visit(args.last_page_len);
}

using page_table_copy::Case;
using page_table_copy::Drawn;
using page_table_copy::Requests;

// A case with the arrays that are written: `spare` more indices than there are pages.
struct Problem {
  Problem(const Case& c, uint64_t seed, int64_t spare)
      : requests(c, seed),
        indptr({requests.batch() + 1}),
        indices({PagesOf(c) + spare}),
        last_page_len({requests.batch()}),
        args{.request_pages = requests.request_pages(),
             .request_ids = requests.request_ids(),
             .kv_length = requests.kv_length(),
             .page_size = c.page_size,
             .indptr = indptr.View(DType::kI32),
             .indices = indices.View(DType::kI32),
             .last_page_len = last_page_len.View(DType::kI32)} {}

  static int64_t PagesOf(const Case& c) {
    int64_t pages = 0;
    for (const int32_t length : c.lengths) {
      pages += page_table_copy::PagesOf(length, c.page_size);
    }
    return pages;
  }

  Requests requests;
  GuardedArray<int32_t> indptr;
  GuardedArray<int32_t> indices;
  GuardedArray<int32_t> last_page_len;
  Args args;
};

}  // namespace quire::ops::repack_kv_index
