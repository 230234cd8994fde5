// The row starts are summed first; then threads fill blocks of the indices, each of equal size,
// whatever the lengths of the sequences.
#include <algorithm>

#include "ops/cpu_rows.h"
#include "ops/page_table_copy/request_pages.h"
#include "ops/repack_kv_index/blocks.h"
#include "ops/repack_kv_index/repack_kv_index.h"

namespace quire::ops::repack_kv_index {

namespace {

// Writes indptr and last_page_len.
void WriteStarts(const Args& args) {
  const auto* lengths = args.kv_length.as<const int32_t>();
  auto* indptr = args.indptr.as<int32_t>();
  auto* last_page_len = args.last_page_len.as<int32_t>();
  indptr[0] = 0;
  for (int64_t b = 0; b < args.kv_length.dim(0); ++b) {
    const int64_t pages = page_table_copy::PagesOf(lengths[b], args.page_size);
    indptr[b + 1] = indptr[b] + static_cast<int32_t>(pages);
    last_page_len[b] = lengths[b] == 0 ? 0 : (lengths[b] - 1) % args.page_size + 1;
  }
}

// Writes indices [begin, end). REQUIRES: indptr is written, begin < end.
void WriteIndices(const Args& args, int64_t begin, int64_t end) {
  const auto* indptr = args.indptr.as<const int32_t>();
  auto* indices = args.indices.as<int32_t>();
  const int64_t sequences = args.request_ids.dim(0);
  // The last sequence that starts at or before `begin` is the one that has it: empty sequences that
  // start there too come before.
  int64_t b = std::upper_bound(indptr, indptr + sequences + 1, begin) - indptr - 1;
  for (int64_t at = begin; at < end; ++b) {
    const int64_t stop = std::min<int64_t>(end, indptr[b + 1]);
    const int32_t* pages =
        page_table_copy::PagesOfRequest(args.request_pages, args.request_ids.as<int32_t>()[b]);
    std::copy(pages + (at - indptr[b]), pages + (stop - indptr[b]), indices + at);
    at = stop;
  }
}

Status Repack(const OpContext& context, const Args& args) {
  WriteStarts(args);
  const int64_t pages = args.indptr.as<const int32_t>()[args.request_ids.dim(0)];
  const int64_t blocks = (pages + kBlockPages - 1) / kBlockPages;
  ForRowRanges(context, blocks, kBlockPages, [&](int64_t begin, int64_t end) {
    WriteIndices(args, begin * kBlockPages, std::min(pages, end * kBlockPages));
  });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {{"blocks", [](const OpContext&, const Args&) { return true; }, Repack, "i32"}};
}

}  // namespace quire::ops::repack_kv_index
