#include "ops/moe_route/moe_route.h"

namespace quire::ops::moe_route {

namespace {

Status CheckLogits(const OpContext& context, const TensorView& logits) {
  const bool typed = logits.dtype() == DType::kF32 || logits.dtype() == DType::kF16 ||
                     logits.dtype() == DType::kBF16;
  if (logits.rank() != 2 || !typed || logits.dim(1) < 1) {
    return InvalidArgument("moe_route: logits are ", Describe(logits),
                           ", need f32, f16 or bf16 [T, E] with E >= 1");
  }
  if (logits.dim(0) == 0) {
    return OkStatus();
  }
  if (!logits.defined() || logits.place() != context.stream.device().place() ||
      logits.stride(1) != 1) {
    return InvalidArgument("moe_route: logits ", Describe(logits),
                           " need contiguous rows in memory on ",
                           PlaceName(context.stream.device().place()));
  }
  return OkStatus();
}

Status CheckOut(const OpContext& context, std::string_view name, const TensorView& view,
                DType dtype, int64_t tokens, int64_t k) {
  const bool shaped = view.rank() == 2 && view.dtype() == dtype && view.dim(0) == tokens &&
                      view.dim(1) == k && k >= 1 && view.IsContiguous();
  const bool placed =
      tokens == 0 || (view.defined() && view.place() == context.stream.device().place());
  return shaped && placed
             ? OkStatus()
             : InvalidArgument("moe_route: ", name, " are ", Describe(view), ", need contiguous ",
                               InfoOf(dtype).name, " [", tokens, ", k] with one k >= 1 on ",
                               PlaceName(context.stream.device().place()));
}

Status CheckBias(const OpContext& context, const Args& args) {
  const TensorView& bias = args.bias;
  if (!bias.defined()) {
    return OkStatus();
  }
  if (args.scoring != Scoring::kSigmoid) {
    return InvalidArgument("moe_route: a bias is given; only sigmoid scores take one");
  }
  const bool fits = bias.rank() == 1 && bias.dtype() == DType::kF32 &&
                    bias.dim(0) == args.logits.dim(1) && bias.IsContiguous() &&
                    bias.place() == context.stream.device().place();
  return fits ? OkStatus()
              : InvalidArgument("moe_route: bias is ", Describe(bias), ", needs contiguous f32 ",
                                ShapeName({args.logits.dim(1)}));
}

Status CheckGroups(const Args& args) {
  const int64_t experts = args.logits.dim(1);
  if (args.groups < 1 || experts % args.groups != 0) {
    return InvalidArgument("moe_route: groups is ", args.groups, "; it must divide ", experts);
  }
  if (args.top_groups < 1 || args.top_groups > args.groups) {
    return InvalidArgument("moe_route: top_groups is ", args.top_groups, "; it must be 1 to ",
                           args.groups);
  }
  const int64_t choosable = experts / args.groups * args.top_groups;
  if (args.ids.dim(1) > choosable) {
    return InvalidArgument("moe_route: k is ", args.ids.dim(1), "; only ", choosable,
                           " experts can be chosen");
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  QUIRE_RETURN_IF_ERROR(CheckLogits(context, args.logits));
  const int64_t tokens = args.logits.dim(0);
  const int64_t k = args.ids.rank() == 2 ? args.ids.dim(1) : 0;
  QUIRE_RETURN_IF_ERROR(CheckOut(context, "ids", args.ids, DType::kI32, tokens, k));
  QUIRE_RETURN_IF_ERROR(CheckOut(context, "weights", args.weights, DType::kF32, tokens, k));
  QUIRE_RETURN_IF_ERROR(CheckBias(context, args));
  QUIRE_RETURN_IF_ERROR(CheckGroups(args));
  if (tokens == 0) {
    return OkStatus();
  }
  return RunBest("moe_route", ImplementationsOf(context.stream.device().place().platform), context,
                 args);
}

}  // namespace quire::ops::moe_route
