#include "ops/gather_last_rows/gather_last_rows.h"

#include "ops/row_views.h"

namespace quire::ops::gather_last_rows {

namespace {

constexpr std::string_view kOp = "gather_last_rows";

Status ValidateIndex(std::string_view name, const TensorView& index, Place place) {
  if (index.dtype() != DType::kI32 || index.rank() != 1 || index.place() != place ||
      !index.IsContiguous()) {
    return InvalidArgument(kOp, ": ", name, " is ", Describe(index),
                           "; it must be contiguous i32 with one axis on ", PlaceName(place));
  }
  return OkStatus();
}

Status ValidateSequences(const Args& args) {
  const auto* start = args.query_start.as<int32_t>();
  for (int64_t b = 0; b < args.out.dim(0); ++b) {
    if (start[b + 1] <= start[b]) {
      return InvalidArgument(kOp, ": sequence ", b, " has the rows ", start[b], " .. ",
                             start[b + 1], "; it must have at least one");
    }
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "x", args.x, place));
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "out", args.out, place));
  if (args.x.rank() != 2 || args.out.rank() != 2 || args.x.dtype() != args.out.dtype() ||
      args.x.dim(1) != args.out.dim(1)) {
    return InvalidArgument(kOp, ": x is ", Describe(args.x), ", out is ", Describe(args.out),
                           "; they must be [T, D] and [R, D] of one type");
  }
  const bool by_row = IsGiven(args.rows);
  if (by_row == IsGiven(args.query_start)) {
    return InvalidArgument(kOp, ": ", by_row ? "both" : "neither", " of rows and query_start ",
                           by_row ? "are" : "is", " given; give one");
  }
  const TensorView& index = by_row ? args.rows : args.query_start;
  QUIRE_RETURN_IF_ERROR(ValidateIndex(by_row ? "rows" : "query_start", index, place));
  const int64_t rows = args.out.dim(0);
  if (index.dim(0) != (by_row ? rows : rows + 1)) {
    return InvalidArgument(kOp, ": ", by_row ? "rows" : "query_start", " has ", index.dim(0),
                           " elements for ", rows, " rows of out; it must have ",
                           by_row ? "as many" : "one more");
  }
  if (!place.IsHost()) {
    return OkStatus();
  }
  if (!by_row) {
    QUIRE_RETURN_IF_ERROR(ValidateSequences(args));
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = SourceRow(args, r);
    if (row < 0 || row >= args.x.dim(0)) {
      return InvalidArgument(kOp, ": row ", row, " for row ", r, " of out is outside the ",
                             args.x.dim(0), " rows of x");
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

}  // namespace quire::ops::gather_last_rows
