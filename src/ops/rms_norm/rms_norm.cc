#include "ops/rms_norm/rms_norm.h"

namespace quire::ops::rms_norm {

namespace {

Status ValidateArray(std::string_view name, const TensorView& view, Place place) {
  if (view.dtype() != DType::kF32 || view.place() != place) {
    return InvalidArgument("rms_norm: ", name, " is ", Describe(view), "; it must be f32 on ",
                           PlaceName(place));
  }
  const int last = view.rank() - 1;
  if (view.rank() > 0 && view.dim(last) > 1 && view.stride(last) != 1) {
    return InvalidArgument("rms_norm: the last axis of ", name, " has stride ", view.stride(last),
                           "; it must be contiguous");
  }
  return OkStatus();
}

Status Validate(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(ValidateArray("x", args.x, place));
  QUIRE_RETURN_IF_ERROR(ValidateArray("weight", args.weight, place));
  QUIRE_RETURN_IF_ERROR(ValidateArray("out", args.out, place));
  if ((args.x.rank() != 2 && args.x.rank() != 3) || args.x.dim(args.x.rank() - 1) < 1) {
    return InvalidArgument("rms_norm: x is ", Describe(args.x),
                           "; it must be [T, D] or [T, H, D] with D >= 1");
  }
  if (args.out.shape() != args.x.shape()) {
    return InvalidArgument("rms_norm: out is ", ShapeName(args.out.shape()), ", x is ",
                           ShapeName(args.x.shape()), "; the shapes must be equal");
  }
  if (args.weight.shape() != Shape{args.x.dim(args.x.rank() - 1)}) {
    return InvalidArgument("rms_norm: weight is ", ShapeName(args.weight.shape()), " for rows of ",
                           args.x.dim(args.x.rank() - 1), " elements; it must have as many");
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  QUIRE_RETURN_IF_ERROR(Validate(context, args));
  return RunBest("rms_norm", ImplementationsOf(context.stream.device().place().platform), context,
                 args);
}

}  // namespace quire::ops::rms_norm
