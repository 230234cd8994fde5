#include "ops/page_table_copy/page_table_copy.h"

#include "ops/page_table_copy/request_pages.h"

namespace quire::ops::page_table_copy {

namespace {

constexpr std::string_view kOp = "page_table_copy";

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(CheckRequests(kOp, args.request_pages, args.request_ids, args.kv_length,
                                      args.page_size, place));
  QUIRE_RETURN_IF_ERROR(CheckTable(kOp, "out", args.out, place));
  const int64_t sequences = args.request_ids.dim(0);
  if (args.out.dim(0) != sequences) {
    return InvalidArgument(kOp, ": out is ", ShapeName(args.out.shape()), " for ", sequences,
                           " sequences; it must have a row for each");
  }
  for (int64_t b = 0; place.IsHost() && b < sequences; ++b) {
    const int32_t length = args.kv_length.as<const int32_t>()[b];
    if (PagesOf(length, args.page_size) > args.out.dim(1)) {
      return InvalidArgument(kOp, ": sequence ", b, " has ", length, " tokens, ",
                             PagesOf(length, args.page_size), " pages of ", args.page_size,
                             "; out has room for ", args.out.dim(1), " pages");
    }
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::page_table_copy
