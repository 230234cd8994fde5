#include "ops/cast/cast.h"

#include "tensor/element.h"

namespace quire::ops::cast {

namespace {

Status ValidateArray(std::string_view name, const TensorView& view, Place place) {
  if (!IsFloating(view.dtype()) || view.rank() != 2 || view.place() != place ||
      (!view.defined() && view.shape().elements() > 0)) {
    return InvalidArgument("cast: ", name, " is ", Describe(view),
                           "; it must be f32, f16, bf16 or f8e4m3 [T, D] on ", PlaceName(place));
  }
  if (view.dim(1) > 1 && view.stride(1) != 1) {
    return InvalidArgument("cast: the elements of a row of ", name, " are ", view.stride(1),
                           " apart; they must be contiguous");
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateArray("x", args.x, place));
  QUIRE_RETURN_IF_ERROR(ValidateArray("out", args.out, place));
  if (args.out.shape() != args.x.shape()) {
    return InvalidArgument("cast: out is ", ShapeName(args.out.shape()), ", x is ",
                           ShapeName(args.x.shape()), "; the shapes must be equal");
  }
  if (args.scale.defined() && (args.scale.dtype() != DType::kF32 ||
                               args.scale.shape() != Shape{1} || args.scale.place() != place)) {
    return InvalidArgument("cast: scale is ", Describe(args.scale), "; it must be f32 [1] on ",
                           PlaceName(place));
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest("cast", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::cast
