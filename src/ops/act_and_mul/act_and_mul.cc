#include "ops/act_and_mul/act_and_mul.h"

#include "ops/act_and_mul/inputs.h"
#include "ops/row_views.h"

namespace quire::ops::act_and_mul {

namespace {

constexpr std::string_view kOp = "act_and_mul";

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "out", args.out, place));
  if (args.out.rank() != 2) {
    return InvalidArgument("act_and_mul: out is ", Describe(args.out), "; it must be [T, F]");
  }
  const bool halves = IsGiven(args.gate_up);
  if (halves == IsGiven(args.gate) || (halves && IsGiven(args.up))) {
    return InvalidArgument("act_and_mul: gate_up is ", halves ? "" : "not ", "given, gate is ",
                           IsGiven(args.gate) ? "" : "not ", "given, up is ",
                           IsGiven(args.up) ? "" : "not ",
                           "given; give gate_up alone, gate and up, or gate alone");
  }
  if (!halves) {
    QUIRE_RETURN_IF_ERROR(ValidateLike(kOp, "gate", args.gate, "out", args.out));
    return IsGiven(args.up) ? ValidateLike(kOp, "up", args.up, "out", args.out) : OkStatus();
  }
  const TensorView& gate_up = args.gate_up;
  if (gate_up.dtype() != args.out.dtype() || gate_up.place() != place ||
      gate_up.shape() != Shape{args.out.dim(0), 2 * args.out.dim(1)}) {
    return InvalidArgument("act_and_mul: gate_up is ", Describe(gate_up), ", out is ",
                           Describe(args.out), "; they must be [T, 2 F] and [T, F] of one type");
  }
  return ValidateLastAxis(kOp, "gate_up", gate_up);
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::act_and_mul
