#include "ops/repack_kv_index/repack_kv_index.h"

#include <algorithm>
#include <limits>

#include "ops/page_table_copy/request_pages.h"

namespace quire::ops::repack_kv_index {

namespace {

constexpr std::string_view kOp = "repack_kv_index";

Status CheckCapacity(const Args& args) {
  int64_t needed = 0;
  for (int64_t b = 0; b < args.kv_length.dim(0); ++b) {
    needed += page_table_copy::PagesOf(args.kv_length.as<const int32_t>()[b], args.page_size);
  }
  const int64_t room = std::min<int64_t>(args.indices.dim(0), std::numeric_limits<int32_t>::max());
  if (needed > room) {
    return InvalidArgument(kOp, ": the sequences have ", needed, " pages; indices has room for ",
                           room);
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  using page_table_copy::CheckIntegers;
  QUIRE_RETURN_IF_ERROR(page_table_copy::CheckRequests(kOp, args.request_pages, args.request_ids,
                                                       args.kv_length, args.page_size, place));
  const int64_t sequences = args.request_ids.dim(0);
  QUIRE_RETURN_IF_ERROR(CheckIntegers(kOp, "indptr", args.indptr, sequences + 1, place));
  QUIRE_RETURN_IF_ERROR(CheckIntegers(kOp, "indices", args.indices, -1, place));
  QUIRE_RETURN_IF_ERROR(CheckIntegers(kOp, "last_page_len", args.last_page_len, sequences, place));
  return place.IsHost() ? CheckCapacity(args) : OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::repack_kv_index
