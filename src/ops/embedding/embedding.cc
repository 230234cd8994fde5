#include "ops/embedding/embedding.h"

namespace quire::ops::embedding {

namespace {

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
  if (table.dim(1) > 1 && table.stride(1) != 1) {
    return InvalidArgument("embedding: the last axis of the table has stride ", table.stride(1),
                           "; it must be contiguous");
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateTable(args.table, place));
  const auto rows = static_cast<int64_t>(args.tokens.size());
  if (args.out.dtype() != DType::kF32 || args.out.shape() != Shape{rows, args.table.dim(1)} ||
      args.out.place() != place) {
    return InvalidArgument("embedding: out is ", Describe(args.out), "; it must be f32 [", rows,
                           ", ", args.table.dim(1), "] on ", PlaceName(place));
  }
  if (args.out.dim(1) > 1 && args.out.stride(1) != 1) {
    return InvalidArgument("embedding: the last axis of out has stride ", args.out.stride(1),
                           "; it must be contiguous");
  }
  for (int64_t t = 0; t < rows; ++t) {
    if (args.tokens[t] < 0 || args.tokens[t] >= args.table.dim(0)) {
      return InvalidArgument("embedding: token id ", args.tokens[t], " of row ", t,
                             " is outside the vocabulary of ", args.table.dim(0));
    }
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest("embedding", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::embedding
