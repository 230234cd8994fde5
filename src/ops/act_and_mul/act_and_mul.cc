#include "ops/act_and_mul/act_and_mul.h"

namespace quire::ops::act_and_mul {

namespace {

Status ValidateArray(std::string_view name, const TensorView& view, Place place) {
  if (view.dtype() != DType::kF32 || view.rank() != 2 || view.place() != place) {
    return InvalidArgument("act_and_mul: ", name, " is ", Describe(view),
                           "; it must be f32 with two axes on ", PlaceName(place));
  }
  if (view.dim(1) > 1 && view.stride(1) != 1) {
    return InvalidArgument("act_and_mul: the last axis of ", name, " has stride ", view.stride(1),
                           "; it must be contiguous");
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(ValidateArray("gate_up", args.gate_up, place));
  QUIRE_RETURN_IF_ERROR(ValidateArray("out", args.out, place));
  if (args.gate_up.dim(0) != args.out.dim(0) || args.gate_up.dim(1) != 2 * args.out.dim(1)) {
    return InvalidArgument("act_and_mul: gate_up is ", ShapeName(args.gate_up.shape()), ", out is ",
                           ShapeName(args.out.shape()), "; they must be [T, 2 F] and [T, F]");
  }
  return RunBest("act_and_mul", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::act_and_mul
