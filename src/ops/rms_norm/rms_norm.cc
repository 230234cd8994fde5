#include "ops/rms_norm/rms_norm.h"

#include "ops/row_views.h"

namespace quire::ops::rms_norm {

namespace {

constexpr std::string_view kOp = "rms_norm";

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "x", args.x, place));
  if ((args.x.rank() != 2 && args.x.rank() != 3) || LastDim(args.x) < 1) {
    return InvalidArgument("rms_norm: x is ", Describe(args.x),
                           "; it must be [T, D] or [T, H, D] with D >= 1");
  }
  QUIRE_RETURN_IF_ERROR(ValidateLike(kOp, "out", args.out, "x", args.x));
  QUIRE_RETURN_IF_ERROR(ValidateWeight(kOp, "weight", args.weight, args.x));
  if (!IsGiven(args.residual)) {
    return OkStatus();
  }
  QUIRE_RETURN_IF_ERROR(ValidateLike(kOp, "residual", args.residual, "x", args.x));
  if (RowsOf(args.x) > 0 &&
      (args.residual.data() == args.x.data() || args.residual.data() == args.out.data())) {
    return InvalidArgument("rms_norm: residual is ",
                           args.residual.data() == args.x.data() ? "x" : "out",
                           "; it must have memory of its own");
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::rms_norm
