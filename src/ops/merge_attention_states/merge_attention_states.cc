#include "ops/merge_attention_states/merge_attention_states.h"

#include "ops/row_views.h"

namespace quire::ops::merge_attention_states {

namespace {

constexpr std::string_view kOp = "merge_attention_states";

Status ValidateLse(std::string_view name, const TensorView& lse, const TensorView& out_a) {
  const Shape shape = {out_a.dim(0), out_a.dim(1)};
  if (lse.dtype() != DType::kF32 || lse.shape() != shape || !lse.IsContiguous() ||
      lse.place() != out_a.place()) {
    return InvalidArgument(kOp, ": ", name, " is ", Describe(lse), "; it must be contiguous f32 ",
                           ShapeName(shape), " on ", PlaceName(out_a.place()));
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "out_a", args.out_a, place));
  if (args.out_a.rank() != 3) {
    return InvalidArgument(kOp, ": out_a is ", Describe(args.out_a),
                           "; it must be [tokens, heads, head_dim]");
  }
  QUIRE_RETURN_IF_ERROR(ValidateLike(kOp, "out_b", args.out_b, "out_a", args.out_a));
  QUIRE_RETURN_IF_ERROR(ValidateLike(kOp, "out", args.out, "out_a", args.out_a));
  QUIRE_RETURN_IF_ERROR(ValidateLse("lse_a", args.lse_a, args.out_a));
  QUIRE_RETURN_IF_ERROR(ValidateLse("lse_b", args.lse_b, args.out_a));
  return ValidateLse("lse", args.lse, args.out_a);
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::merge_attention_states
