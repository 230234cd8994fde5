#include "ops/rope_table/rope_table.h"

#include "ops/row_views.h"

namespace quire::ops::rope_table {

namespace {

Status ValidateArray(std::string_view name, const TensorView& view, DType dtype, int rank,
                     Place place) {
  if (view.dtype() != dtype || view.rank() != rank || view.place() != place ||
      !view.IsContiguous()) {
    return InvalidArgument("rope_table: ", name, " is ", Describe(view), "; it must be contiguous ",
                           InfoOf(dtype).name, " with ", rank, " axes on ", PlaceName(place));
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateArray("positions", args.positions, DType::kI32, 1, place));
  QUIRE_RETURN_IF_ERROR(
      ValidateArray("inverse_frequency", args.inverse_frequency, DType::kF32, 1, place));
  QUIRE_RETURN_IF_ERROR(ValidateArray("out", args.out, DType::kF32, 3, place));
  if (args.out.shape() != Shape{args.positions.dim(0), args.inverse_frequency.dim(0), 2}) {
    return InvalidArgument("rope_table: out is ", Describe(args.out), "; it must be [",
                           args.positions.dim(0), ", ", args.inverse_frequency.dim(0), ", 2]");
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest("rope_table", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::rope_table
