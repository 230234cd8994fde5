#include "ops/embedding/embedding.h"

#include "ops/embedding/token_ids.h"
#include "ops/row_views.h"

namespace quire::ops::embedding {

namespace {

constexpr std::string_view kOp = "embedding";

bool IsWeightType(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         IsQuantized(dtype);
}

Status ValidateTable(const TensorView& table, Place place) {
  if (table.rank() != 2 || table.place() != place || !IsWeightType(table.dtype())) {
    return InvalidArgument("embedding: the table is ", Describe(table),
                           "; it must be [V, D] of a floating or quantized type on ",
                           PlaceName(place));
  }
  const int64_t block = InfoOf(table.dtype()).block_elements;
  if (table.dim(1) % block != 0 || table.stride(0) % block != 0) {
    return InvalidArgument("embedding: rows of ", table.dim(1), " elements, ", table.stride(0),
                           " apart, do not hold whole blocks of ", block, " (",
                           InfoOf(table.dtype()).name, ")");
  }
  return ValidateLastAxis(kOp, "the table", table);
}

Status ValidateIds(const Args& args, Place place) {
  const TensorView& ids = args.ids;
  if (!place.IsHost() && !args.tokens.empty()) {
    return InvalidArgument("embedding: tokens are in host memory; on ", PlaceName(place),
                           " give ids");
  }
  if (!IsGiven(ids)) {
    return OkStatus();
  }
  if (!args.tokens.empty()) {
    return InvalidArgument("embedding: ", args.tokens.size(), " tokens and ids ", Describe(ids),
                           " are given; give one of them");
  }
  if ((ids.dtype() != DType::kI32 && ids.dtype() != DType::kI64) || ids.rank() != 1 ||
      ids.place() != place || !ids.IsContiguous()) {
    return InvalidArgument("embedding: ids is ", Describe(ids),
                           "; it must be contiguous i32 or i64 [T] on ", PlaceName(place));
  }
  return OkStatus();
}

Status ValidateDrawn(const TensorView& drawn, Place place) {
  if (IsGiven(drawn) && (drawn.dtype() != DType::kI32 || drawn.rank() != 1 ||
                         drawn.place() != place || !drawn.IsContiguous())) {
    return InvalidArgument("embedding: drawn is ", Describe(drawn),
                           "; it must be contiguous i32 [R] on ", PlaceName(place));
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateTable(args.table, place));
  QUIRE_RETURN_IF_ERROR(ValidateIds(args, place));
  QUIRE_RETURN_IF_ERROR(ValidateDrawn(args.drawn, place));
  const TokenIds ids(args);
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "out", args.out, place));
  if (args.out.shape() != Shape{ids.size(), args.table.dim(1)}) {
    return InvalidArgument("embedding: out is ", Describe(args.out), "; it must be [", ids.size(),
                           ", ", args.table.dim(1), "]");
  }
  for (int64_t t = 0; place.IsHost() && t < ids.size(); ++t) {
    if (ids[t] < 0 || ids[t] >= args.table.dim(0)) {
      return InvalidArgument("embedding: token id ", ids[t], " of row ", t,
                             " is outside the vocabulary of ", args.table.dim(0));
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

}  // namespace quire::ops::embedding
